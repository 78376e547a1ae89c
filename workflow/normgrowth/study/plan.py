"""The study worked out: the runs, segments and checkpoints that the workflow makes jobs of."""

import json
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec

from pydantic import BaseModel

from normgrowth.editors.settings import TRAJECTORY, EditorSettings
from normgrowth.errors import INSTALL_HARNESS
from normgrowth.study.chosen_editors import ChosenEditor, choose, preset_of, published_model
from normgrowth.study.inputs import layers_of
from normgrowth.study.sections import CheckpointDifference, TrainedModel
from normgrowth.study.study import Study

UNEDITED = "unedited"
"""Name under which the model before any edit is measured, as in `io.schemas` (too heavy to import here)."""


def compact(settings: BaseModel | dict) -> str:
    """Settings as JSON, the same text for equal settings."""
    if isinstance(settings, BaseModel):
        settings = settings.model_dump(mode="json")
    return json.dumps(settings, sort_keys=True, separators=(",", ":"))


class Plan:
    """What follows from a valid study."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.segments = study.edits // study.segment
        self.editor = cache(self._editor)

    def _editor(self, model: str, name: str) -> ChosenEditor:
        """The editor `name` with its settings for `model`."""
        return choose(self.study, name, model, layers_of(self.study, model))

    @property
    def chains(self) -> Iterator[tuple[str, str, int]]:
        """Model, editor and order of every run: first all runs of the first order."""
        for order in range(max(self.orders_of(*run.split("/")) for run in self.runs)):
            for model in self.study.models:
                for editor in self.editors_of(model):
                    if order < self.orders_of(model, editor):
                        yield model, editor, order

    def orders_of(self, model: str, editor: str) -> int:
        """Edit orders that an editor runs a model through."""
        return self.study.more_orders.get(model, {}).get(editor, self.study.orders)

    @property
    def unedited(self) -> Iterator[tuple[str, int]]:
        """Model and order of every measurement of an unedited model: what is scored first follows the order."""
        yield from dict.fromkeys((model, order) for model, _, order in self.chains)

    @property
    def kept_vectors(self) -> Iterator[tuple[str, str, int, int]]:
        """Model, editor, order and step of every checkpoint whose activations are kept themselves."""
        wanted = self.study.vectors
        steps = [0, *self.checkpoints]
        steps = [step for step in steps if wanted.steps is None or step in wanted.steps]
        found = (
            (model, UNEDITED if step == 0 else editor, order, step)
            for model, editor, order in self.chains
            if editor in wanted.editors and order in wanted.orders
            for step in steps
        )
        yield from dict.fromkeys(found)

    def editors_of(self, model: str) -> list[str]:
        """The editors that edit a model."""
        return [name for name in self.study.editors if name not in self.study.left_out.get(model, ())]

    @property
    def runs(self) -> list[str]:
        """Model and editor of the runs of each order, as `model/editor`."""
        return [f"{model}/{editor}" for model in self.study.models for editor in self.editors_of(model)]

    @property
    def wrapped(self) -> set[str]:
        """Editors that control arms wrap; they need not run themselves."""
        return {
            editor.settings.editor
            for model in self.study.models
            for name in self.editors_of(model)
            if (editor := self.editor(model, name)).controlled
        }

    @property
    def single_edit_runs(self) -> list[str]:
        """Of `runs` those whose editor can edit a fact alone: all but control arms that follow another run."""
        runs = [run.split("/") for run in self.runs]
        return [f"{model}/{name}" for model, name in runs if TRAJECTORY not in self.editor(model, name).needs]

    @property
    def checkpoints(self) -> list[int]:
        """Edits after which runs are measured, the last always among them; the unedited model is not."""
        every = self.study.measure.every * self.study.segment
        return [*range(every, self.study.edits, every), self.study.edits]

    @property
    def evaluated(self) -> list[int]:
        """Edits after which tasks of the harness are evaluated, 0 and the last among them; none without tasks."""
        every = self.study.ability.every
        chosen = [step for number, step in enumerate(self.checkpoints, start=1) if number % every == 0]
        return sorted({0, *chosen, self.study.edits}) if self.study.ability.tasks else []

    def edits_of(self, segment: int) -> tuple[int, int]:
        """First and last edit of a segment; both count from 1."""
        return (segment - 1) * self.study.segment + 1, segment * self.study.segment

    def segment_at(self, step: int) -> int:
        """The segment that ends with edit number `step`."""
        return step // self.study.segment

    def checkpoint_settings(self, step: int) -> dict:
        """What the measurement at `step` reads."""
        unread = "retention_facts" if step == 0 else "baseline_facts"
        return self.study.measure.model_dump(mode="json", exclude={"every", unread})

    @property
    def interventions(self) -> list[str]:
        """Every model and intervention, as `model/name`; models that the study does not edit are trained by none."""
        found = []
        for name, what in self.study.interventions.items():
            if isinstance(what, CheckpointDifference):
                found.append(f"{what.base}/{name}")
            else:
                found += [f"{m}/{name}" for m in self.study.models if what.models is None or m in what.models]
        return found

    @property
    def probe_settings(self) -> dict:
        """What decides which activations are followed."""
        return self.study.measure.model_dump(mode="json", include={"fact_probes", "text_probes", "text_window"})

    def vetting_editor(self, model: str) -> EditorSettings:
        """Settings of the R-ROME that vets a trained model: its defaults, or the study's for this model."""
        return self._editor(model, "r_rome").settings

    def trained(self) -> dict[str, TrainedModel]:
        """The sources of models that are trained here, by name."""
        return {name: source for name, source in self.study.model_sources.items() if isinstance(source, TrainedModel)}

    @property
    def conditions(self) -> dict:
        """The study in the words of published results: names of models and facts, and what runs depend on."""
        models = {model: published_model(self.study, model) for model in self.study.models}
        return {
            "facts": getattr(self.study.fact_sources[self.study.facts], "published_as", None),
            "models": {model: published for model, published in models.items() if published},
            "runs": {run: self._said_of(*run.split("/")) for run in self.runs},
        }

    def _said_of(self, model: str, editor: str) -> dict:
        settings = self.editor(model, editor).settings
        return {"batch": settings.batch, "remembers": getattr(settings, "remember", "nothing") != "nothing"}

    @property
    def notice(self) -> str | None:
        """What a user should know before a run, a line each."""
        return "\n".join(filter(None, (self._without_preset(), self._without_harness()))) or None

    def _without_harness(self) -> str | None:
        # A notice and no fault: jobs may run in an image that holds what is missing here.
        if not self.study.ability.tasks or find_spec("lm_eval"):
            return None
        return f"normgrowth: ability.tasks need lm_eval, which is not installed here: {INSTALL_HARNESS}"

    def _without_preset(self) -> str | None:
        """The models, or editors on them, that no preset names."""
        unnamed = []
        for model in self.study.models:
            editors = [name for name in self.editors_of(model) if not self.editor(model, name).controlled]
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
        """What the study says of itself, or else a sentence that follows from what it is."""
        study = self.study
        if study.description.strip():
            return study.description
        trained = self.trained()
        models = [f"{name} (trained here)" if name in trained else name for name in study.models]
        editors = f"{len(study.editors)} editors" if len(study.editors) > 1 else study.editors[0]
        edits = f"{study.edits:,} edits" if study.edits > 1 else "One edit"
        return f"{edits} in sequence, of facts of {study.facts}, by {editors} on {_listed(models)}."

    @property
    def as_json(self) -> str:
        """The study with the settings of every editor and model filled in; it names no folder of this machine."""
        editors = {
            model: {name: self.editor(model, name).settings.model_dump(mode="json") for name in self.editors_of(model)}
            for model in self.study.models
        }
        origins = {
            model: {name: self.editor(model, name).origins for name in self.editors_of(model)}
            for model in self.study.models
        }
        study = self.study.model_dump(mode="json", exclude={"assets", "editor_settings"})
        study |= {"description": self.description, "editor_settings": editors, "settings_from": origins}
        return compact(study)


def _listed(names: list[str]) -> str:
    """Names as a sentence lists them."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
