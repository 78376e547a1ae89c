"""Editing by regression on gradients: UltraEdit (arXiv 2505.14679) and StableEdit (arXiv 2605.11836).

One backward pass gives, at the m tokens where a batch's new objects are predicted, the inputs h_i and output gradients
g_i of each matrix. Both are normalised by running statistics, which the batch has been added to, and each token asks
for a shift of the output

    v_i = -lr ||h^_i||² g^_i

The shifts V [m, o] are regressed on the inputs H [m, d] as they were: Δᵀ = Hᵀ (H Hᵀ + a I)⁻¹ V. Nothing is searched or
trained, and no statistics of text are needed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal, Protocol

import torch

from normgrowth.editors.base import Change, Memory, Resources, Trace, trained_records, write
from normgrowth.editors.hypernetwork.networks import TokenGradients, ridge_regression, token_gradients
from normgrowth.editors.locate.solving import naming
from normgrowth.editors.regression.running import Running
from normgrowth.errors import EditError
from normgrowth.facts.orders import subset
from normgrowth.facts.records import Fact
from normgrowth.lm.kept_weights import KeptWeights
from normgrowth.lm.model import LanguageModel

RELATIVE_SHIFT = 6.0
"""Default shift of a token's outputs, all edited layers together, in units of the unedited outputs' length.

It is that of normalised entries of size one, before the ridge takes its part: docs/editors.md has the measurements.
"""

RELATIVE_RIDGE = 0.1
"""Default ridge a in units of the mean squared length of unedited inputs."""

FACTS_FOR_UNITS = 32
"""Facts over which lengths of unedited inputs and outputs are taken."""

WARM_UP_FACTS = 128
"""Most facts of the study itself that statistics begin with, where the study reserves none."""

RATES, RIDGES, WRITTEN = "rates", "ridges", "warm_up_written"
"""Names in a run's memory: lr and a of each layer, and whether the warm-up's own edits have been made."""

RAISE_RIDGE = "raise ridge"
NOTHING_SEEN = "no other token seen to normalise by"


class RegressionSettings(Protocol):
    """Settings of both editors, as their own files declare them."""

    @property
    def edited_layers(self) -> tuple[int, ...]:
        """Layers whose down-projections are edited."""

    @property
    def batch(self) -> int:
        """Facts edited in one call."""

    @property
    def learning_rate(self) -> float | None:
        """lr; None to fit it to the model."""

    @property
    def ridge(self) -> float | None:
        """a; None to fit it to the model."""

    @property
    def shared_statistics(self) -> bool:
        """True where matrices of one shape share their statistics."""

    @property
    def warm_up(self) -> int | None:
        """Batches of facts that statistics begin with; None for those at hand."""

    @property
    def warm_up_as(self) -> Literal["statistics", "edits"]:
        """What the warm-up leaves: statistics alone, or its edits as well."""


class GradientRegression:
    """The editor; with `full_covariance` gradients are whitened, as in StableEdit."""

    def __init__(self, settings: RegressionSettings, full_covariance: bool) -> None:
        self.settings = settings
        self.layers = settings.edited_layers
        self.full_covariance = full_covariance

    def prepare(self, lm: LanguageModel, resources: Resources) -> None:
        """Choose the facts of the warm-up.

        Raises:
            EditError: when more are asked for than are reserved.
        """
        self.warm_up = self._warm_up_of(resources)
        self.samples = _some(resources.reserved or resources.facts, FACTS_FOR_UNITS)

    def begin(self, lm: LanguageModel) -> Memory:
        """The rates and ridges, and the statistics of the warm-up."""
        memory = self._units(lm)
        for layer in self.layers:
            o, d = lm.anatomy.down_projections[layer].matrix.shape
            running = Running.begin(d, o, lm.device, self.full_covariance)
            running.to_memory(memory, self._name(lm, layer))
        if self.settings.warm_up_as == "edits":
            memory[WRITTEN] = torch.tensor(False)
            return memory
        for facts in self._batches():
            self._observe(lm, memory, self._tokens(lm, facts)[1])
        return memory

    def edit(self, lm: LanguageModel, memory: Memory, facts: list[Fact]) -> Trace:
        """Write a batch of facts by one joint gradient; see `Editor.edit`."""
        if WRITTEN in memory and not memory[WRITTEN]:
            memory[WRITTEN] = torch.tensor(True)
            return self._edit_after_warm_up(lm, memory, facts)
        losses, tokens = self._tokens(lm, facts)
        changes = {}
        with torch.no_grad():
            self._observe(lm, memory, tokens)
            for number, layer in enumerate(self.layers):
                running = Running.of_memory(memory, self._name(lm, layer), tokens[layer].inputs.shape[1])
                with naming(layer, facts):
                    changes[layer] = regression(tokens[layer], running, memory[RATES][number], memory[RIDGES][number])
            for layer, change in changes.items():
                write(lm, layer, change, facts)
        records = trained_records(facts, 1, losses.tolist())
        if not any(change.left.any() for change in changes.values()):
            records = [replace(record, skipped_reason=NOTHING_SEEN) for record in records]
        return Trace(records, changes)

    def _edit_after_warm_up(self, lm: LanguageModel, memory: Memory, facts: list[Fact]) -> Trace:
        """Write the warm-up's facts and then a batch; the change of each matrix, made at once, is that of both."""
        before = KeptWeights.of(lm, self.layers)
        traces = [self.edit(lm, memory, part) for part in (*self._batches(), facts)]
        before.put_back()
        changes = {}
        with torch.no_grad():
            for layer in self.layers:
                parts = [trace.changes[layer] for trace in traces if trace.changes]
                left, right = torch.cat([part.left for part in parts], 1), torch.cat([part.right for part in parts], 1)
                changes[layer] = Change(left, right)
                write(lm, layer, changes[layer], facts)
        return Trace(traces[-1].records, changes)

    def _observe(self, lm: LanguageModel, memory: Memory, tokens: dict[int, TokenGradients]) -> None:
        """Add a batch's tokens to the statistics of every layer."""
        for layer, of_layer in tokens.items():
            name = self._name(lm, layer)
            Running.of_memory(memory, name, of_layer.inputs.shape[1]).updated(of_layer).to_memory(memory, name)

    def _tokens(self, lm: LanguageModel, facts: Sequence[Fact]) -> tuple[torch.Tensor, dict[int, TokenGradients]]:
        return token_gradients(lm, list(facts), self.layers, answer_tokens_only=True, weigh="tokens")

    def _name(self, lm: LanguageModel, layer: int) -> str:
        """The name of a layer's statistics: its own, or that of all matrices of its shape."""
        o, d = lm.anatomy.down_projections[layer].matrix.shape
        return f"{o}x{d}" if self.settings.shared_statistics else str(layer)

    def _batches(self) -> Iterator[list[Fact]]:
        for start in range(0, len(self.warm_up), self.settings.batch):
            yield self.warm_up[start : start + self.settings.batch]

    def _warm_up_of(self, resources: Resources) -> list[Fact]:
        """The facts of the warm-up: reserved ones, or, where none are asked for and none are there, the study's own."""
        batches = self.settings.warm_up
        if batches is None:
            return list(resources.reserved) or _some(resources.facts, WARM_UP_FACTS)
        wanted = batches * self.settings.batch
        if wanted > len(resources.reserved):
            raise EditError(
                f"warm_up takes {batches} batches of {self.settings.batch} facts that no run edits, and "
                f"{len(resources.reserved)} are reserved: raise `reserved` in the study's source of facts to {wanted}, "
                "or lower warm_up"
            )
        return _some(resources.reserved, wanted)

    def _units(self, lm: LanguageModel) -> Memory:
        """lr and a of each layer, in float64: the settings', or fitted to the unedited model.

        At normalised entries of size one ||v|| = lr d √o; that is `RELATIVE_SHIFT`, shared by the layers, of the root
        mean square length of a layer's outputs.
        """
        settings, rates, ridges = self.settings, [], []
        if settings.learning_rate is None or settings.ridge is None:
            if not self.samples:
                raise EditError(
                    "learning_rate or ridge is left out, and there are no facts to fit it to: give both of them"
                )
            _, tokens = self._tokens(lm, self.samples)
        for layer in self.layers:
            matrix = lm.anatomy.down_projections[layer].matrix
            o, d = matrix.shape
            rate, ridge = settings.learning_rate, settings.ridge
            if rate is None:
                outputs = tokens[layer].inputs.double() @ matrix.double().to(lm.device).T  # [m, o]
                length = outputs.square().sum(dim=1).mean().sqrt().item()
                rate = RELATIVE_SHIFT / len(self.layers) * length / (d * o**0.5)
            if ridge is None:
                ridge = RELATIVE_RIDGE * tokens[layer].inputs.double().square().sum(dim=1).mean().item()
            rates.append(rate)
            ridges.append(ridge)
        return {
            RATES: torch.tensor(rates, dtype=torch.float64, device=lm.device),
            RIDGES: torch.tensor(ridges, dtype=torch.float64, device=lm.device),
        }


def regression(tokens: TokenGradients, running: Running, rate: torch.Tensor, ridge: torch.Tensor) -> Change:
    """The update of a matrix, of rank m for m tokens that the statistics already hold; rate and ridge are scalars.

    Raises:
        UnsolvableError: when the system has no solution.
    """
    h, g = running.normalised(tokens)
    shifts = -rate * h.square().sum(dim=1, keepdim=True) * g  # V [m, o]
    return Change(shifts.T.float(), ridge_regression(tokens.inputs.T, ridge, RAISE_RIDGE))


def _some(facts: Sequence[Fact], count: int) -> list[Fact]:
    """At most `count` of the facts, the same ones in every edit order."""
    return subset(list(facts), count, 0, "warm-up")
