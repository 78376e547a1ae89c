"""The skeleton of every locate-then-edit method.

For a batch of facts: search each fact's target value at the last edited layer; then, layer by layer from below, read
the facts' keys, see how far the value still is from its target, give this layer its share, and write it by a closed
form. Methods differ in where the value stands, over which contexts keys are averaged, what counts as the current
value, and the closed form; each is a short declaration of these.
"""

from collections.abc import Callable
from typing import Literal

import torch

from normgrowth.capture import reading
from normgrowth.editors.interface import EditRecord, LowRank, Memory, Resources, Trace
from normgrowth.editors.settings import SearchSettings
from normgrowth.editors.statistics import SecondMoment
from normgrowth.editors.targets import ROWS_PER_PASS, search_targets
from normgrowth.errors import EditError
from normgrowth.facts.records import Fact
from normgrowth.language_model import LanguageModel
from normgrowth.prompts import encode, fill, last_token_of

ClosedForm = Callable[[torch.Tensor, torch.Tensor, SecondMoment], LowRank]


class LocateThenEdit:
    """An editor assembled from its parts.

    Args:
        site: where the target value stands, `mlp_output` (ROME) or `residual` (MEMIT).
        contexts: the template set, `uniform` or `grouped`; in the second the bare prompt weighs one half.
        current_value: what is subtracted from the target, the value under the `bare_prompt` or the
            `mean_over_contexts`.
        closed_form: keys [d, b], residual [o, b] and second moment to a change of the matrix.
    """

    def __init__(
        self,
        settings: SearchSettings,
        site: Literal["mlp_output", "residual"],
        contexts: Literal["uniform", "grouped"],
        current_value: Literal["bare_prompt", "mean_over_contexts"],
        closed_form: ClosedForm,
    ) -> None:
        self.settings = settings
        self.layers = settings.layers
        self.site = site
        self.contexts = contexts
        self.current_value = current_value
        self.closed_form = closed_form

    def prepare(self, lm: LanguageModel, resources: Resources) -> Memory:
        """Bind contexts and second moments; nothing is remembered between calls."""
        self.templates = resources.contexts[self.contexts]
        self.moments = {layer: resources.second_moments[layer] for layer in self.layers}
        return {}

    def edit(self, lm: LanguageModel, memory: Memory, facts: list[Fact]) -> Trace:
        """Write a batch of facts; see `Editor.edit`."""
        top = (self.layers[-1], self.site)
        targets = search_targets(lm, facts, self.templates, top, self.settings)
        changes: dict[int, LowRank] = {}
        key_norms = residual_norms = None
        for index, layer in enumerate(self.layers):
            keys, values = self._keys_and_values(lm, facts, layer, top)
            residual = targets.values - values  # [n, o]
            if key_norms is None:
                key_norms, residual_norms = keys.norm(dim=1).tolist(), residual.norm(dim=1).tolist()
            share = residual / (len(self.layers) - index)
            change = self.closed_form(keys.T, share.T, self.moments[layer])
            if not (torch.isfinite(change.left).all() and torch.isfinite(change.right).all()):
                raise EditError(f"the update of layer {layer} for {_named(facts)} is not finite")
            change.apply(lm.anatomy.down_projections[layer])
            changes[layer] = change
        records = [
            EditRecord(
                case_id=fact.case_id,
                search_steps=targets.steps[i],
                search_loss=targets.losses[i],
                target_norm=targets.values[i].norm().item(),
                offset_norm=targets.offsets[i].norm().item(),
                key_norm=key_norms[i],
                residual_norm=residual_norms[i],
            )
            for i, fact in enumerate(facts)
        ]
        return Trace(records, changes)

    @torch.no_grad()
    def _keys_and_values(
        self, lm: LanguageModel, facts: list[Fact], layer: int, top: tuple[int, str]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys [n, d] at `layer` and current values [n, o] at `top` of the facts, under the current weights."""
        count = len(self.templates)
        keys, values = [], []
        per_pass = max(1, ROWS_PER_PASS // count)
        for start in range(0, len(facts), per_pass):
            part = facts[start : start + per_pass]
            rows, subject_last = [], []
            for fact in part:
                for template in self.templates:
                    text, span = fill(template, fact.question, fact.subject_span)
                    encoded = encode(lm.tokenizer, text)
                    position = last_token_of(encoded, span)
                    # What follows the subject cannot reach it: attention is causal.
                    rows.append(encoded.ids[: position + 1])
                    subject_last.append(position)
            ids, mask = lm.pad(rows)
            with reading(lm.anatomy, [(layer, "mlp_key"), top], stop=True) as seen:
                lm.hidden(ids, mask)
            every_row = torch.arange(len(rows), device=lm.device)
            at = torch.tensor(subject_last, device=lm.device)
            keys.append(seen[layer, "mlp_key"][every_row, at].float().unflatten(0, (len(part), count)))
            values.append(seen[top][every_row, at].float().unflatten(0, (len(part), count)))
        weights = self._context_weights(count).to(lm.device)
        mean_keys = torch.einsum("c,ncd->nd", weights, torch.cat(keys))
        values = torch.cat(values)
        if self.current_value == "bare_prompt":
            return mean_keys, values[:, 0]
        return mean_keys, torch.einsum("c,nco->no", weights, values)

    def _context_weights(self, count: int) -> torch.Tensor:
        """Weights of the contexts in a mean; the bare prompt comes first."""
        if self.contexts == "uniform" or count == 1:
            return torch.full((count,), 1.0 / count)
        weights = torch.full((count,), 0.5 / (count - 1))
        weights[0] = 0.5
        return weights


def _named(facts: list[Fact]) -> str:
    return "case " + ", ".join(str(fact.case_id) for fact in facts)
