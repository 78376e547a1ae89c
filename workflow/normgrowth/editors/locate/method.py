"""Shared procedure of all locate-then-edit methods.

For a batch of facts: search each fact's target value at the last edited layer; then, layer by layer from below, read
the facts' keys, take the residual between target and current value, give this layer its share, and write it by a
closed form. Methods differ in the site of the value, the contexts that keys are averaged over, the current value that
is subtracted, the share of each layer, what the closed form protects, and what is remembered; each method is a short
declaration of these.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch

from normgrowth.editors.base import Change, EditRecord, Memory, Resources, Trace, write
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
    """Keys and residual of a batch of b facts at one layer, for its closed form."""

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

ClosedForm = Callable[[Located, Preservation], Change]


def with_slack(slack: float) -> ClosedForm:
    """The closed form `least_change` with this slack."""
    return lambda located, preserved: least_change(located.keys, located.residual, preserved, slack, located.past_keys)


@dataclass(frozen=True)
class Method:
    """A locate-then-edit method: everything in which it differs from others."""

    site: Literal["mlp_output", "residual"]  # where the target value stands
    contexts: Literal["uniform", "grouped"]  # the template set; in the second the bare prompt weighs one half
    preserve: Callable[[Resources, int], Preservation]  # what the update of a layer leaves alone
    closed_form: ClosedForm
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


class LocateThenEdit:
    """An editor that follows a method."""

    def __init__(self, settings: SearchSettings, method: Method) -> None:
        self.settings = settings
        self.layers = settings.edited_layers
        self.method = method
        top = self.layers[-1]
        self.top: Place = (top, method.site)
        self.searched: tuple[Place, ...] = (*((top, site) for site in method.other_sites), self.top)

    def prepare(self, lm: LanguageModel, resources: Resources) -> None:
        """Bind contexts and what is preserved; see `Editor.prepare`."""
        self.templates = resources.contexts[self.method.contexts]
        self.preserved = {layer: self.method.preserve(resources, layer) for layer in self.layers}
        self.pilots = resources.facts

    def begin(self, lm: LanguageModel) -> Memory:
        """Memory of a run at its start: the search's step where the settings give none, and NAS's anchor."""
        memory: Memory = {}
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
        changes: dict[int, Change] = {}
        key_norms: list[float] = []  # at the lowest layer, as are the residuals' norms
        residual_norms: list[float] = []
        for index, layer in enumerate(self.layers):
            share = Share(layer, len(self.layers) - index, wanted)
            located, residual = self._locate(lm, memory, facts, share)
            key_norms = key_norms or located.keys.norm(dim=0).tolist()
            residual_norms = residual_norms or residual.norm(dim=1).tolist()
            with naming(layer, facts):
                change = self.method.closed_form(located, self.preserved[layer])
            write(lm, layer, change, facts)
            changes[layer] = change
            if self.method.remember == "before_edit":
                _append(memory, layer, located.keys)
        if self.method.remember == "after_edit":
            self._remember_keys(lm, memory, facts)
        records = [
            EditRecord(
                case_id=fact.case_id,
                search_steps=targets.steps[i],
                search_loss=targets.losses[i],
                target_norm=wanted[i].norm().item(),
                offset_norm=targets.offsets[i].norm().item(),
                key_norm=key_norms[i],
                residual_norm=residual_norms[i],
                skipped_reason=skipped[i],
            )
            for i, fact in enumerate(facts)
        ]
        return Trace(records, changes)

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
        return Located(keys.T, seen[place][:, 0].T, part.T, memory.get(past_keys(share.layer))), residual

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


def past_keys(layer: int) -> str:
    """The name in a run's memory of the keys [d, m] of a layer's earlier edits."""
    return f"past_keys.{layer}"


def _append(memory: Memory, layer: int, keys: torch.Tensor) -> None:
    """Add keys [d, b] to those remembered of a layer."""
    past = memory.get(past_keys(layer))
    memory[past_keys(layer)] = keys.contiguous() if past is None else torch.cat([past, keys], dim=1)
