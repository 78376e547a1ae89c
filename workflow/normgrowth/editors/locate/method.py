"""Shared procedure of all locate-then-edit methods.

For a batch of facts: search each fact's target value at the last edited layer; then, layer by layer from below, read
the facts' keys, take the residual between target and current value, give this layer its share, and write it by a
closed form. Methods differ in the site of the value, the contexts that keys are averaged over, the current value that
is subtracted, the share of each layer, how it is written, and what is remembered; each method is a short declaration
of these.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch

from normgrowth.editors.base import Change, DenseChange, EditRecord, Memory, Resources, Trace, write
from normgrowth.editors.locate.anchor import BARE_PROMPT, NormAnchor
from normgrowth.editors.locate.closed_forms import Preservation, least_change
from normgrowth.editors.locate.keys import at_subject, mean_over_contexts
from normgrowth.editors.locate.search import Relaxation, Search, Targets, search_targets
from normgrowth.editors.locate.solving import naming
from normgrowth.editors.settings import Remember, SearchSettings
from normgrowth.errors import EditError
from normgrowth.facts.records import Fact
from normgrowth.lm.hooks import Place
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.post_norms import PostNorm, rms, unit_rms


@dataclass(frozen=True)
class Located:
    """Keys and residual of a batch of b facts at one layer, for the writer of its update."""

    layer: int
    matrix: torch.Tensor  # [o, d], the layer's current weights; not to be changed
    keys: torch.Tensor  # [d, b], means over contexts
    bare_keys: torch.Tensor  # [d, b], under the bare prompts
    residual: torch.Tensor  # [o, b], this layer's share
    past_keys: torch.Tensor | None  # [d, m], of earlier edits


RATES, ANCHOR = "rates", "anchor"
"""Names in a run's memory: Adam's step at each searched place, and the norm that values are written at."""

RELATIVE_STEP = 0.5
"""Default step of Adam, in units of the unedited vectors' root mean square coordinate: published steps are 0.1 to 1 of
it, and at another scale the search stalls."""
FACTS_FOR_RATES = 32
"""Facts over which the root mean square of the unedited vectors is taken."""

AnyChange = Change | DenseChange

StepFilter = Callable[[int, AnyChange], AnyChange]
"""The change to make of a layer's matrix in place of the one that a method computed."""


class Writer(Protocol):
    """The part of a method that turns a batch's keys and residual at a layer into a change of its matrix.

    What it remembers from batch to batch stands in the run's memory, under names of its own.
    """

    def prepare(self, lm: LanguageModel, resources: Resources, layers: tuple[int, ...]) -> None:
        """Bind gathered resources and whatever is needed of the unedited weights; see `Editor.prepare`."""

    def begin(self) -> Memory:
        """The writer's part of a run's memory before the first edit."""

    def change(self, located: Located, memory: Memory) -> AnyChange:
        """The change that writes a batch's share, computed before it is made; updates the memory.

        Raises:
            UnsolvableError: when there is none.
        """


ClosedForm = Callable[[Located, Preservation], Change]


class ClosedFormWriter:
    """A writer whose change depends on the batch at hand, what is preserved and the past keys alone."""

    def __init__(self, preserve: Callable[[Resources, int], Preservation], closed_form: ClosedForm) -> None:
        self.preserve = preserve
        self.closed_form = closed_form

    def prepare(self, lm: LanguageModel, resources: Resources, layers: tuple[int, ...]) -> None:
        """Bind what is preserved at each layer."""
        self.preserved = {layer: self.preserve(resources, layer) for layer in layers}

    def begin(self) -> Memory:
        """Nothing."""
        return {}

    def change(self, located: Located, memory: Memory) -> Change:
        """The closed form's solution."""
        return self.closed_form(located, self.preserved[located.layer])


def with_slack(slack: float) -> ClosedForm:
    """The closed form `least_change` with this slack."""
    return lambda located, preserved: least_change(located.keys, located.residual, preserved, slack, located.past_keys)


@dataclass(frozen=True)
class Method:
    """A locate-then-edit method: everything in which it differs from others."""

    site: Literal["mlp_output", "residual"]  # where the target value stands
    contexts: Literal["uniform", "grouped"]  # the template set; in the second the bare prompt weighs one half
    writer: Writer  # of the update of a layer
    current_value: Literal["bare_prompt", "mean_over_contexts"] = "bare_prompt"  # subtracted from the target
    other_sites: tuple[str, ...] = ()  # where the search moves offsets that are thrown away
    relaxation: Relaxation | None = None
    spread: Literal["linear", "square_root"] = "linear"  # a layer's share: residual / (layers left), or its root
    remember: Remember = "nothing"
    anchor: NormAnchor | None = None


class Share(NamedTuple):
    """The part of a batch's residual that is written at one layer."""

    layer: int
    layers_left: int  # this one included
    wanted: torch.Tensor  # [n, o], targets at the last edited layer


class Written(NamedTuple):
    """Outcome of writing a batch of facts."""

    changes: dict[int, AnyChange]  # by layer
    key_norms: list[float]  # of each fact at the lowest layer, as are the residuals' norms
    residual_norms: list[float]


class LocateThenEdit:
    """An editor that follows a method."""

    def __init__(self, settings: SearchSettings, method: Method) -> None:
        self.settings = settings
        self.layers = settings.edited_layers
        self.method = method
        top = self.layers[-1]
        self.top: Place = (top, method.site)
        self.searched: tuple[Place, ...] = (*((top, site) for site in method.other_sites), self.top)
        self.filter: StepFilter = lambda layer, change: change  # set by editors that wrap this one

    def prepare(self, lm: LanguageModel, resources: Resources) -> None:
        """Bind contexts and what the writer needs; see `Editor.prepare`."""
        self.templates = resources.contexts[self.method.contexts]
        self.method.writer.prepare(lm, resources, self.layers)
        self.pilots = resources.facts

    def begin(self, lm: LanguageModel) -> Memory:
        """Memory of a run at its start: the writer's, the search's step where the settings give none, NAS's anchor."""
        memory = self.method.writer.begin()
        if self.settings.learning_rate is None:
            memory[RATES] = self._rates(lm)
        if self.method.anchor:
            memory[ANCHOR] = self.method.anchor.of_pilots(lm, self.pilots, self._search_with(memory))
        return memory

    def search(self, lm: LanguageModel, memory: Memory, facts: list[Fact]) -> Targets:
        """The facts' targets under the current weights."""
        return search_targets(lm, facts, self.templates, self._search_with(memory))

    def _search_with(self, memory: Memory) -> Search:
        return Search(self.searched, self.settings, self.method.relaxation, memory.get(RATES))

    def _rates(self, lm: LanguageModel) -> torch.Tensor:
        """Adam's step at each searched place [places], in proportion to the unedited vectors there.

        Taken once: a step in proportion to the edited model's vectors would grow with them, and they with it.
        """
        if not self.pilots:
            raise EditError("the search's step is left out, and there are no facts to fit it to: give learning_rate")
        values = at_subject(lm, list(self.pilots[:FACTS_FOR_RATES]), BARE_PROMPT, list(self.searched))
        return torch.stack([RELATIVE_STEP * values[place].square().mean().sqrt() for place in self.searched])

    def edit(self, lm: LanguageModel, memory: Memory, facts: list[Fact]) -> Trace:
        """Write a batch of facts; see `Editor.edit`."""
        targets = self.search(lm, memory, facts)
        wanted = targets.values  # [n, o]
        skipped: list[str | None] = [None] * len(facts)
        if self.method.anchor:
            wanted, skipped = self.method.anchor.adjust(lm, self.top[0], memory[ANCHOR], facts, targets)
        written = self._write_layers(lm, memory, facts, wanted)
        if self.method.remember == "after_edit":
            self._remember_keys(lm, memory, facts)
        return Trace(records(facts, targets, wanted, written, skipped), factored(written.changes))

    def _write_layers(self, lm: LanguageModel, memory: Memory, facts: list[Fact], wanted: torch.Tensor) -> Written:
        """Write targets [n, o] of a batch, layer by layer from below."""
        changes: dict[int, AnyChange] = {}
        key_norms: list[float] = []
        residual_norms: list[float] = []
        for index, layer in enumerate(self.layers):
            share = Share(layer, len(self.layers) - index, wanted)
            located, residual = self._locate(lm, memory, facts, share)
            key_norms = key_norms or located.keys.norm(dim=0).tolist()
            residual_norms = residual_norms or residual.norm(dim=1).tolist()
            with naming(layer, facts):
                change = self.filter(layer, self.method.writer.change(located, memory))
            write(lm, layer, change, facts)
            changes[layer] = change
            if self.method.remember == "before_edit":
                _append(memory, layer, located.keys)
        return Written(changes, key_norms, residual_norms)

    def _locate(
        self, lm: LanguageModel, memory: Memory, facts: list[Fact], share: Share
    ) -> tuple[Located, torch.Tensor]:
        """Keys and residual of a layer, and the whole residual [n, o], under the current weights."""
        place = (share.layer, "mlp_key")
        seen = at_subject(lm, facts, self.templates, [place, self.top])  # each [n, contexts, width]
        grouped = self.method.contexts == "grouped"
        of_prompts = seen[self.top]  # [n, contexts, o]
        bare = self.method.current_value == "bare_prompt"
        residual = share.wanted - (of_prompts[:, 0] if bare else mean_over_contexts(of_prompts, grouped))
        norm, top_norm = lm.post_norms[share.layer], lm.post_norms[self.top[0]]
        if self.method.site == "residual" and norm and top_norm:
            part = self._part_before_norm(lm, facts, share, norm, top_norm)
        else:
            left = share.layers_left
            part = residual / (left if self.method.spread == "linear" else math.sqrt(left))
        keys = mean_over_contexts(seen[place], grouped)  # [n, d]
        located = Located(
            layer=share.layer,
            matrix=lm.anatomy.down_projections[share.layer].matrix,
            keys=keys.T,
            bare_keys=seen[place][:, 0].T,
            residual=part.T,
            past_keys=memory.get(past_keys(share.layer)),
        )
        return located, residual

    def _part_before_norm(
        self, lm: LanguageModel, facts: list[Fact], share: Share, norm: PostNorm, top_norm: PostNorm
    ) -> torch.Tensor:
        """A layer's part of the residual [n, o] where a norm follows its MLP.

        It is the change of the MLP's output that brings the normed output nearest to the layer's share in the residual
        stream. The last layer must end at a point that its own norm can give. So its output turns along the norm's
        ellipsoid towards the wanted point, 1 / layers_left of the way at each layer, and the layers below supply the
        difference. For small changes this is the plain share, residual / layers_left.
        """
        layer, layers_left, wanted = share
        top = self.top[0]
        places: list[Place] = list(dict.fromkeys([(layer, "mlp_output"), (top, "mlp_output"), self.top]))
        seen = {place: values[:, 0] for place, values in at_subject(lm, facts, BARE_PROMPT, places).items()}
        output = seen[layer, "mlp_output"]  # [n, o], as all below
        top_output = seen[top, "mlp_output"]
        of_top = wanted - (seen[self.top] - top_norm.written(top_output))  # what the top MLP has to write
        aim = of_top
        if layers_left > 1:
            start = unit_rms(top_output.double())
            turned = unit_rms(start + (top_norm.nearest(of_top) - start) / layers_left)
            aim = norm.written(output) + (of_top - top_norm.gain * turned) / (layers_left - 1)
        return (norm.nearest(aim) * rms(output)).float() - output  # the output keeps its length

    def _remember_keys(self, lm: LanguageModel, memory: Memory, facts: list[Fact]) -> None:
        places = [(layer, "mlp_key") for layer in self.layers]
        for (layer, _), keys in at_subject(lm, facts, self.templates, places).items():
            _append(memory, layer, mean_over_contexts(keys, self.method.contexts == "grouped").T)


def records(
    facts: list[Fact], targets: Targets, wanted: torch.Tensor, written: Written, skipped: list[str | None]
) -> list[EditRecord]:
    """Records of a batch: targets as searched and as wanted [n, o], and by fact the reason not to write it, or None."""
    return [
        EditRecord(
            case_id=fact.case_id,
            search_steps=targets.steps[i],
            search_loss=targets.losses[i],
            target_norm=wanted[i].norm().item(),
            offset_norm=targets.offsets[i].norm().item(),
            key_norm=written.key_norms[i],
            residual_norm=written.residual_norms[i],
            skipped_reason=skipped[i],
        )
        for i, fact in enumerate(facts)
    ]


def factored(changes: dict[int, AnyChange]) -> dict[int, Change] | None:
    """Changes by layer, for a trace; None where one of them has no factors."""
    known = {layer: change for layer, change in changes.items() if isinstance(change, Change)}
    return known if len(known) == len(changes) else None


def past_keys(layer: int) -> str:
    """The name in a run's memory of the keys [d, m] of a layer's earlier edits."""
    return f"past_keys.{layer}"


def _append(memory: Memory, layer: int, keys: torch.Tensor) -> None:
    """Add keys [d, b] to those remembered of a layer."""
    past = memory.get(past_keys(layer))
    memory[past_keys(layer)] = keys.contiguous() if past is None else torch.cat([past, keys], dim=1)
