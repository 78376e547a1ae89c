"""Fine-tuning through a low-rank adapter that is kept from edit to edit.

The adapter's factors A [r, d] and B [o, r] are the editor's memory. Between edits they are merged, W = base + s B A
with s = alpha / rank, so that what is measured and scored is the merged matrix.
"""

import math
import warnings
from typing import NamedTuple, Protocol

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear as LoraLinear
from torch import nn

from normgrowth.editors.base import Change, Memory, Resources, Trace, trained_records
from normgrowth.editors.finetune.fine_tuning import DescentSettings, descend
from normgrowth.facts.records import Fact, named
from normgrowth.lm.continuations import continuations
from normgrowth.lm.model import LanguageModel
from normgrowth.seeds import derive

ADAPTER = "edits"
"""Name of the adapters within peft."""

STEP = "step"
"""Key in the editor's memory of the number of calls made."""


class LoraSettings(DescentSettings, Protocol):
    """Settings of LoRA, as its own file declares them."""

    @property
    def edited_layers(self) -> tuple[int, ...]:
        """Layers whose down-projections have an adapter."""

    @property
    def rank(self) -> int:
        """Rank of the adapters."""

    @property
    def alpha(self) -> float:
        """Numerator of the adapters' scale, alpha / rank."""

    @property
    def dropout(self) -> float:
        """Share of an adapter's inputs left out in training."""

    @property
    def learning_rate(self) -> float:
        """Adam step."""


class Factors(NamedTuple):
    """The factors of one matrix's adapter."""

    a: torch.Tensor  # [r, d]
    b: torch.Tensor  # [o, r]


class Trained(NamedTuple):
    """Outcome of training: factors by layer, the steps taken, and each fact's loss after them."""

    factors: dict[int, Factors]
    steps: int
    losses: list[float]


class LoraEditing:
    """Cross-entropy on the new object's tokens alone, teacher forced, with a new Adam for each call."""

    def __init__(self, settings: LoraSettings) -> None:
        self.settings = settings
        self.layers = settings.edited_layers
        self.scaling = settings.alpha / settings.rank

    def prepare(self, lm: LanguageModel, resources: Resources) -> None:
        """Note the run's seed, from which A and the dropout are drawn."""
        self.seed = resources.seed

    def begin(self, lm: LanguageModel) -> Memory:
        """An adapter that changes nothing yet: A uniform as peft draws it, B zero."""
        memory: Memory = {STEP: torch.zeros((), dtype=torch.int64)}
        for layer in self.layers:
            o, d = lm.anatomy.down_projections[layer].matrix.shape
            generator = torch.Generator().manual_seed(derive(self.seed, "adapter", layer))
            bound = 1 / math.sqrt(d)  # kaiming_uniform with a = sqrt(5)
            uniform = torch.rand(self.settings.rank, d, generator=generator)
            memory[f"a.{layer}"] = ((2 * uniform - 1) * bound).to(lm.device)
            memory[f"b.{layer}"] = torch.zeros(o, self.settings.rank, device=lm.device)
        return memory

    def edit(self, lm: LanguageModel, memory: Memory, facts: list[Fact]) -> Trace:
        """Train the adapter on a batch of facts; see `Editor.edit`."""
        projections = {layer: lm.anatomy.down_projections[layer] for layer in self.layers}
        merged = {layer: projection.weight.clone() for layer, projection in projections.items()}
        before = {layer: Factors(memory[f"a.{layer}"], memory[f"b.{layer}"]) for layer in self.layers}
        memory[STEP] = memory[STEP] + 1
        for layer, (a, b) in before.items():
            projections[layer].matrix.sub_((self.scaling * (b @ a)).to(projections[layer].weight.device))
        try:
            trained = self._train(lm, facts, before, derive(self.seed, "dropout", int(memory[STEP].item())))
        finally:
            for layer, projection in projections.items():
                projection.weight.copy_(merged[layer])
        changes = {}
        for layer, (a, b) in trained.factors.items():
            old_a, old_b = before[layer]
            left = self.scaling * torch.cat([b, -old_b], dim=1)
            changes[layer] = Change(left, torch.cat([a, old_a]).T.contiguous())
            changes[layer].apply(projections[layer])
            memory[f"a.{layer}"], memory[f"b.{layer}"] = a, b
        return Trace(trained_records(facts, trained.steps, trained.losses), changes)

    def _train(self, lm: LanguageModel, facts: list[Fact], before: dict[int, Factors], seed: int) -> Trained:
        """Train adapters that start from the factors before; the model has none afterwards."""
        config = LoraConfig(
            r=self.settings.rank,
            lora_alpha=self.settings.alpha,  # type: ignore[arg-type]  # any number scales as well
            lora_dropout=self.settings.dropout,
            target_modules=[lm.anatomy.down_projections[layer].name.removesuffix(".weight") for layer in self.layers],
            fan_in_fan_out=lm.anatomy.down_projections[self.layers[0]].is_transposed,
        )
        with torch.random.fork_rng(devices=[lm.device] if lm.device.type == "cuda" else []):
            torch.manual_seed(seed)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers under an old name
                wrapped = get_peft_model(lm.model, config, adapter_name=ADAPTER)
            try:
                return self._descend(lm, wrapped, facts, before)
            finally:
                wrapped.unload()
                lm.model.eval().requires_grad_(False)

    def _descend(self, lm: LanguageModel, wrapped: PeftModel, facts: list[Fact], before: dict[int, Factors]) -> Trained:
        factors: dict[int, Factors] = {}
        for layer, (a, b) in before.items():
            name = lm.anatomy.down_projections[layer].name.removesuffix(".weight")
            module = wrapped.get_base_model().get_submodule(name)
            assert isinstance(module, LoraLinear)
            module.train()  # for its dropout; the model's own stays off
            factors[layer] = Factors(_weight(module.lora_A[ADAPTER]), _weight(module.lora_B[ADAPTER]))
            with torch.no_grad():
                factors[layer].a.copy_(a)
                factors[layer].b.copy_(b)
        optimiser = torch.optim.Adam([f for pair in factors.values() for f in pair], lr=self.settings.learning_rate)
        batch = continuations(lm, [(fact.question, fact.target_new) for fact in facts])
        steps, losses = descend(
            optimiser,
            lambda: batch.losses(batch.predictions(lm)),
            self.settings,
            f"training the adapter on {named(facts)}",
        )
        after = {
            layer: Factors(a.detach().clone().to(lm.device), b.detach().clone().to(lm.device))
            for layer, (a, b) in factors.items()
        }
        return Trained(after, steps, losses)


def _weight(module: nn.Module) -> nn.Parameter:
    weight = module.weight
    assert isinstance(weight, nn.Parameter)
    return weight
