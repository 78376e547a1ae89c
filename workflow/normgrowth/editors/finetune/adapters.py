"""Fine-tuning through a low-rank adapter that lives from edit to edit.

The adapter's factors A [r, d] and B [o, r] are the editor's memory. Between edits they are merged, W = base + s B A
with s = alpha / rank, so that what is measured and scored is the merged matrix.
"""

import math
import warnings

import torch
from peft import LoraConfig, get_peft_model

from normgrowth.editors.base import Change, Memory, Resources, Trace, trained_records
from normgrowth.editors.finetune.fine_tuning import descend
from normgrowth.facts.records import Fact
from normgrowth.lm.continuations import continuations
from normgrowth.lm.model import LanguageModel
from normgrowth.seeds import derive

ADAPTER = "edits"
STEP = "step"


class LoraEditing:
    """Cross-entropy on the new object's tokens alone, teacher forced, with a new Adam for each call."""

    def __init__(self, settings) -> None:
        self.settings = settings
        self.layers = settings.layers
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
        before = {layer: (memory[f"a.{layer}"], memory[f"b.{layer}"]) for layer in self.layers}
        memory[STEP] = memory[STEP] + 1
        for layer, (a, b) in before.items():
            projections[layer].matrix.sub_((self.scaling * (b @ a)).to(projections[layer].weight.device))
        try:
            after, steps, losses = self._train(lm, facts, before, derive(self.seed, "dropout", memory[STEP].item()))
        finally:
            for layer, projection in projections.items():
                projection.weight.copy_(merged[layer])
        changes = {}
        for layer, (a, b) in after.items():
            old_a, old_b = before[layer]
            left = self.scaling * torch.cat([b, -old_b], dim=1)
            changes[layer] = Change(left, torch.cat([a, old_a]).T.contiguous())
            changes[layer].apply(projections[layer])
            memory[f"a.{layer}"], memory[f"b.{layer}"] = a, b
        return Trace(trained_records(facts, steps, losses), changes)

    def _train(self, lm: LanguageModel, facts: list[Fact], before: dict, seed: int):
        """The adapter's factors by layer after training, the steps taken and each fact's loss at the end."""
        config = LoraConfig(
            r=self.settings.rank,
            lora_alpha=self.settings.alpha,
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

    def _descend(self, lm: LanguageModel, wrapped, facts: list[Fact], before: dict):
        factors = {}
        for layer, (a, b) in before.items():
            name = lm.anatomy.down_projections[layer].name.removesuffix(".weight")
            module = wrapped.base_model.model.get_submodule(name)
            module.train()  # for its dropout; the model's own stays off
            factors[layer] = (module.lora_A[ADAPTER].weight, module.lora_B[ADAPTER].weight)
            with torch.no_grad():
                factors[layer][0].copy_(a)
                factors[layer][1].copy_(b)
        optimiser = torch.optim.Adam([f for pair in factors.values() for f in pair], lr=self.settings.learning_rate)
        batch = continuations(lm, [(fact.question, fact.target_new) for fact in facts])
        steps, losses = descend(
            optimiser, lambda: batch.losses(batch.predictions(lm)), self.settings, facts, "training the adapter"
        )
        trained = {layer: tuple(f.detach().clone().to(lm.device) for f in pair) for layer, pair in factors.items()}
        return trained, steps, losses
