"""Plan of a study: the runs, segments and checkpoints that the workflow makes jobs of."""

import json
from collections.abc import Collection, Iterator
from importlib.util import find_spec
from typing import Any, NamedTuple

from pydantic import BaseModel

from normgrowth.editors.settings import TRAJECTORY, EditorSettings
from normgrowth.errors import INSTALL_HARNESS
from normgrowth.layout import UNEDITED
from normgrowth.study.chosen_editors import ChosenEditor, choose, preset_of, published_model
from normgrowth.study.inputs import facts_of_edits, layers_of
from normgrowth.study.sections import CheckpointDifference, GgufModel, TrainedModel
from normgrowth.study.study import Study


class Pair(NamedTuple):
    """A model and an editor that edits it; its text is `model/editor`."""

    model: str
    editor: str

    def __str__(self) -> str:
        return f"{self.model}/{self.editor}"


class Chain(NamedTuple):
    """One run: a model that an editor edits in one seeded order of facts."""

    model: str
    editor: str
    order: int


class Checkpoint(NamedTuple):
    """A run after `step` edits; after none, its editor is `layout.UNEDITED`."""

    model: str
    editor: str
    order: int
    step: int


def compact(settings: BaseModel | dict[str, Any]) -> str:
    """Settings as JSON, the same text for equal settings."""
    if isinstance(settings, BaseModel):
        settings = settings.model_dump(mode="json")
    return json.dumps(settings, sort_keys=True, separators=(",", ":"))


class Plan:
    """Runs, segments and checkpoints of a valid study.

    Attributes:
        study: the study.
        segments: number of segments of every run.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.segments = study.edits // study.segment
        self._chosen: dict[Pair, ChosenEditor] = {}

    def editor(self, model: str, name: str) -> ChosenEditor:
        """The editor `name` with its settings for `model`."""
        pair = Pair(model, name)
        if pair not in self._chosen:
            self._chosen[pair] = choose(self.study, name, model, layers_of(self.study, model))
        return self._chosen[pair]

    @property
    def chains(self) -> Iterator[Chain]:
        """Every run: first all runs of the first order."""
        pairs = self.pairs
        for order in range(max(self.orders_of(*pair) for pair in pairs)):
            for model, editor in pairs:
                if order < self.orders_of(model, editor):
                    yield Chain(model, editor, order)

    def orders_of(self, model: str, editor: str) -> int:
        """Number of edit orders of an editor on a model."""
        return self.study.more_orders.get(model, {}).get(editor, self.study.orders)

    @property
    def unedited(self) -> Iterator[tuple[str, int]]:
        """Model and order of every measurement of an unedited model; the order decides which facts are scored."""
        yield from dict.fromkeys((model, order) for model, _, order in self.chains)

    @property
    def measured(self) -> list[Checkpoint]:
        """Every measurement."""
        return self.at([0, *self.checkpoints])

    def at(self, steps: Collection[int]) -> list[Checkpoint]:
        """Every run after these numbers of edits, unedited models first; 0 stands for those alone."""
        unedited = [Checkpoint(model, UNEDITED, order, 0) for model, order in self.unedited if 0 in steps]
        return unedited + [Checkpoint(*chain, step) for chain in self.chains for step in steps if step]

    @property
    def kept_vectors(self) -> Iterator[Checkpoint]:
        """Every checkpoint whose raw activations are kept."""
        wanted = self.study.vectors
        steps = [0, *self.checkpoints]
        steps = [step for step in steps if wanted.steps is None or step in wanted.steps]
        found = (
            Checkpoint(model, UNEDITED if step == 0 else editor, order, step)
            for model, editor, order in self.chains
            if editor in wanted.editors and order in wanted.orders
            for step in steps
        )
        yield from dict.fromkeys(found)

    def editors_of(self, model: str) -> list[str]:
        """Names of the editors that edit a model."""
        return [name for name in self.study.editors if name not in self.study.left_out.get(model, ())]

    @property
    def pairs(self) -> list[Pair]:
        """Model and editor of the runs of each order, models first."""
        return [Pair(model, editor) for model in self.study.models for editor in self.editors_of(model)]

    @property
    def runs(self) -> list[str]:
        """The pairs as `model/editor`, part of the paths of their files."""
        return list(map(str, self.pairs))

    @property
    def wrapped(self) -> set[str]:
        """Names of the editors that remedies and control arms stand around; they need not run themselves."""
        return {name for pair in self.pairs for name in self.editor(*pair).all_wrapped}

    def edited_facts(self, model: str) -> int:
        """Facts that the runs of a model need beside the reserved ones: of the longest order, or of all blocks."""
        orders = max(self.orders_of(model, editor) for editor in self.editors_of(model))
        of_edits = facts_of_edits(self.study, orders)
        return max(of_edits, self.study.single_edits, orders * (self.study.block or 0))

    @property
    def single_edit_runs(self) -> list[str]:
        """The `runs` whose editor can edit a fact alone: all but control arms that follow another run."""
        return [str(pair) for pair in self.pairs if TRAJECTORY not in self.editor(*pair).needs]

    @property
    def checkpoints(self) -> list[int]:
        """Numbers of edits after which runs are measured, always with the last, without 0."""
        every = self.study.measure.every * self.study.segment
        return [*range(every, self.study.edits, every), self.study.edits]

    @property
    def evaluated(self) -> list[int]:
        """Numbers of edits after which the harness is run, with 0 and the last; empty without tasks."""
        every = self.study.ability.every
        chosen = [step for number, step in enumerate(self.checkpoints, start=1) if number % every == 0]
        return sorted({0, *chosen, self.study.edits}) if self.study.ability.tasks else []

    def edits_of(self, segment: int) -> tuple[int, int]:
        """First and last edit of a segment; both count from 1."""
        return (segment - 1) * self.study.segment + 1, segment * self.study.segment

    def segment_at(self, step: int) -> int:
        """Number of the segment that ends with edit number `step`."""
        return step // self.study.segment

    def checkpoint_settings(self, step: int) -> dict[str, Any]:
        """Settings of `measure` that the measurement after `step` edits reads."""
        unread = "retention_facts" if step == 0 else "baseline_facts"
        settings = self.study.measure.model_dump(mode="json", exclude={"every", "curve", unread})
        return settings | {"curve": [between for between in self.study.measure.curve if self.owner_of(between) == step]}

    def owner_of(self, step: int) -> int | None:
        """The checkpoint whose measurement also covers this step of the curve; None for checkpoints themselves."""
        following = [checkpoint for checkpoint in self.checkpoints if checkpoint >= step]
        return following[0] if following and following[0] != step else None

    @property
    def interventions(self) -> list[str]:
        """Every intervention on every model, as `model/name`; only models that the study edits are trained by one."""
        found = []
        for name, what in self.study.interventions.items():
            if isinstance(what, CheckpointDifference):
                found.append(f"{what.base}/{name}")
            else:
                found += [f"{m}/{name}" for m in self.study.models if what.models is None or m in what.models]
        return found

    @property
    def probe_settings(self) -> dict[str, Any]:
        """Settings of `measure` that decide which activations are followed."""
        return self.study.measure.model_dump(mode="json", include={"fact_probes", "text_probes", "text_window"})

    def vetting_editor(self, model: str) -> EditorSettings:
        """Settings of the R-ROME that vets a trained model: its defaults, or the study's for this model."""
        return self.editor(model, "r_rome").settings

    def trained(self) -> dict[str, TrainedModel]:
        """Sources of the models that are trained here, by name."""
        return {name: source for name, source in self.study.model_sources.items() if isinstance(source, TrainedModel)}

    @property
    def conditions(self) -> dict[str, Any]:
        """Conditions of the study in the words of published results.

        `facts` is the published set that its facts are, whole and each edited once, or None; `models` has the published
        model of each model that is one, with its own weights: those of a GGUF file are not what published numbers were
        measured on; `runs` has, for each of `runs`, the editor's `batch` and whether it `remembers` earlier edits.
        """
        own = [name for name in self.study.models if not isinstance(self.study.model_sources[name], GgufModel)]
        models = {model: published_model(self.study, model) for model in own}
        source = self.study.fact_sources[self.study.facts]
        return {
            "facts": None if source.known or self.study.stream.active else getattr(source, "published_as", None),
            "models": {model: published for model, published in models.items() if published},
            "runs": {str(pair): self._conditions_of(*pair) for pair in self.pairs},
        }

    def _conditions_of(self, model: str, editor: str) -> dict[str, Any]:
        settings = self.editor(model, editor).settings
        return {"batch": settings.batch, "remembers": getattr(settings, "remember", "nothing") != "nothing"}

    @property
    def notice(self) -> str | None:
        """Notices for the user before a run; None where there are none."""
        return "\n".join(filter(None, (self._without_preset(), self._without_harness()))) or None

    def _without_harness(self) -> str | None:
        """Notice that the harness is missing; no fault, since jobs may run in an image that holds it."""
        if not self.study.ability.tasks or find_spec("lm_eval"):
            return None
        return f"normgrowth: ability.tasks need lm_eval, which is not installed here: {INSTALL_HARNESS}"

    def _without_preset(self) -> str | None:
        """Notice of the models, or editors on them, that no preset names."""
        unnamed = []
        for model in self.study.models:
            editors = [name for name in self.editors_of(model) if not self.editor(model, name).wrapped]
            without = [name for name in editors if not preset_of(self.study, name, model)]
            if published_model(self.study, model) is None:
                unnamed.append(model)
            elif without:
                unnamed.append(f"{', '.join(without)} on {model}")
        if not unnamed:
            return None
        return (
            f"normgrowth: no preset names {'; '.join(unnamed)}: what the study does not set follows the model "
            "(layers by depth, steps and weights in its own units)"
        )

    @property
    def description(self) -> str:
        """Description that the study gives, or else a sentence made from its models, editors, facts and edits."""
        study = self.study
        if study.description.strip():
            return study.description
        trained = self.trained()
        models = [f"{name} (trained here)" if name in trained else name for name in study.models]
        editors = f"{len(study.editors)} editors" if len(study.editors) > 1 else study.editors[0]
        edits = f"{study.edits:,} edits" if study.edits > 1 else "One edit"
        return f"{edits} in sequence, of facts of {study.facts}, by {editors} on {_listed(models)}.{self._again}"

    @property
    def _again(self) -> str:
        """Sentence on the edits of facts that were edited before; empty where there are none."""
        stream = self.study.stream
        shares = {
            "write another object into a fact edited before": stream.repeats,
            "put a fact back": stream.put_back,
        }
        said = [f"{100 * share:.3g}% of the edits {what}" for what, share in shares.items() if share]
        return f" About {_listed(said)}." if said else ""

    @property
    def as_json(self) -> str:
        """JSON of the study with all editors' settings for all models filled in, without paths of this machine."""
        editors = {
            model: {name: self.editor(model, name).settings.model_dump(mode="json") for name in self.editors_of(model)}
            for model in self.study.models
        }
        origins = {
            model: {name: self.editor(model, name).origins for name in self.editors_of(model)}
            for model in self.study.models
        }
        left_out = {"assets", "editor_settings"} | ({"stream"} if not self.study.stream.active else set())
        study = self.study.model_dump(mode="json", exclude=left_out)
        study |= {"description": self.description, "editor_settings": editors, "settings_from": origins}
        return compact(study)


def _listed(names: list[str]) -> str:
    """Names as a sentence lists them."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
