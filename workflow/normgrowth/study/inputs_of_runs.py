"""Files that a study's jobs read and write, derived from its plan."""

from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path

from normgrowth import layout
from normgrowth.editors.settings import (
    GRADIENT_MOMENTS,
    HYPERNETWORK,
    NULL_SPACES,
    SECOND_MOMENTS,
    TRAJECTORY,
)
from normgrowth.io.columns import CHECKPOINT_TABLES
from normgrowth.study.downloads import downloads_of
from normgrowth.study.inputs import local_path
from normgrowth.study.plan import Plan
from normgrowth.study.sections import CheckpointDifference, GgufModel

RELATIVE = "relative"
"""Part of a file name that stands for the default threshold, relative to the model."""

BEFORE = "before"
"""Key of the state before a segment among the segment's inputs."""


def threshold_of(name: str) -> float | None:
    """The threshold in the file name of null spaces; None for the default."""
    return None if name == RELATIVE else float(name)


class Files:
    """The files of a study's jobs."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.study = plan, plan.study
        self.of_all_editors = cache(self._of_all_editors)

    def local(self, path: str) -> str:
        """A path of the study, as a path on this machine."""
        return local_path(path, self.study.assets)

    def facts_of(self, model: str, name: str | None = None) -> str:
        """Facts that are taken for a model from a source, the study's own by default: all, or those that it knows."""
        name = name or self.study.facts
        template = layout.KNOWN_FACTS if self.study.fact_sources[name].known else layout.FACTS
        return template.format(facts=name, model=model)

    def included_facts(self) -> set[str]:
        """Names of the sources whose facts come with the package."""
        return {name for name, source in self.study.fact_sources.items() if source.kind == "included"}

    def known_facts(self) -> set[str]:
        """Names of the sources of which only facts that a model knows are taken."""
        return {name for name, source in self.study.fact_sources.items() if source.known}

    def facts_of_models(self) -> list[str]:
        """The facts that the study's models are edited with, sorted."""
        return sorted({self.facts_of(model) for model in self.study.models})

    def sources_of_facts(self, name: str) -> tuple[list[str], list[str]]:
        """Files that facts are imported from: downloads, and the user's own file; none for facts that are made here."""
        source = self.study.fact_sources[name]
        own = [self.local(source.path)] if source.kind == "local" else []
        return [file.path for file in downloads_of(source)], own

    def sources_of_text(self, name: str) -> tuple[list[str], list[str]]:
        """Files that a text is joined from: downloads, and the user's own files."""
        source = self.study.text_sources[name]
        own = [self.local(path) for path in source.paths] if source.kind == "local" else []
        return [file.path for file in downloads_of(source)], own

    def gguf(self, source: GgufModel) -> dict[str, object]:
        """Place of a GGUF file, as fields of a job: its path, or packages and the files in them."""
        if source.path is not None:
            return {"path": self.local(source.path)}
        return {"package": source.package, "files": source.files}

    def task_folder(self) -> str | None:
        """The folder of the study's own tasks of the harness."""
        folder = self.study.ability.task_folder
        return self.local(folder) if folder else None

    def models_from(self, kind: str) -> set[str]:
        """The models whose source is of this kind."""
        return {model for model, source in self.study.model_sources.items() if source.kind == kind}

    def second_moments(self, model: str, layers: Iterable[int]) -> str:
        """Second moments of a model's keys at these layers."""
        return layout.SECOND_MOMENTS.format(layers="-".join(map(str, layers)), **self._statistics(model))

    def _gradient_moments(self, model: str, layers: Iterable[int]) -> str:
        return layout.GRADIENT_MOMENTS.format(layers="-".join(map(str, layers)), **self._statistics(model))

    def _null_spaces(self, model: str, layers: Iterable[int], threshold: float | None) -> str:
        name = RELATIVE if threshold is None else repr(threshold)
        at = "-".join(map(str, layers))
        return layout.NULL_SPACES.format(threshold=name, layers=at, **self._statistics(model))

    def _statistics(self, model: str) -> dict[str, object]:
        wanted = self.study.second_moments
        return {
            "model": model,
            "text": self.study.text,
            "tokens": wanted.tokens,
            "window": wanted.window,
            "seed": self.study.seed,
        }

    def gathered(self, model: str, name: str) -> dict[str, str]:
        """Files gathered for an editor before its first edit, by the option that takes them."""
        editor = self.plan.editor(model, name)
        # Of all layers that the innermost editor has, so that a remedy of some of them gathers nothing again.
        layers = editor.settings.working.layers or ()
        files = {}
        if SECOND_MOMENTS in editor.needs:
            files["statistics"] = self.second_moments(model, layers)
        if NULL_SPACES in editor.needs:
            threshold = getattr(editor.settings.working, "null_space_threshold", None)
            files["null_spaces"] = self._null_spaces(model, layers, threshold)
        if GRADIENT_MOMENTS in editor.needs:
            files["gradient_moments"] = self._gradient_moments(model, layers)
        if HYPERNETWORK in editor.needs:
            # A wrapper uses the hypernetwork of the editor that it wraps.
            files["hypernetwork"] = layout.HYPERNETWORK.format(
                model=model,
                editor=(name, *editor.all_wrapped)[-1],
                facts=self.study.facts,
                reserved=self.study.reserved_facts,
                seed=self.study.seed,
            )
        return files

    def _of_all_editors(self) -> dict[str, tuple[str, ...]]:
        """Gathered files of the editors of all runs, sorted, by the option that takes them."""
        files: dict[str, set[str]] = {}
        for run in self.plan.runs:
            for option, file in self.gathered(*run.split("/")).items():
                files.setdefault(option, set()).add(file)
        return {option: tuple(sorted(found)) for option, found in sorted(files.items())}

    def before_segment(self, model: str, editor: str, order: int | str, segment: int) -> dict[str, str]:
        """Input files of a segment: gathered resources, the norms that a control arm follows, and the state before."""
        chosen, files = self.plan.editor(model, editor), self.gathered(model, editor)
        if TRAJECTORY in chosen.needs:
            files["trajectory"] = self.of_segment("norms.parquet", model, chosen.wraps or editor, order, segment)
        if segment > 1:
            files[BEFORE] = self.of_segment(layout.STATE_FILE, model, editor, order, segment - 1)
        return files

    def state_at(self, model: str, editor: str, order: int | str, step: int) -> list[str]:
        """The state after this many edits; none before the first."""
        segment = self.plan.segment_at(step)
        return [self.of_segment(layout.STATE_FILE, model, editor, order, segment)] if segment else []

    def of_segment(self, file: str, model: str, editor: str, order: int | str, segment: int) -> str:
        """A file of one segment."""
        folder = layout.SEGMENT.format(study=self.study.study, model=model, editor=editor, order=order, segment=segment)
        return f"{folder}/{file}"

    def of_segments(self, file: str) -> list[str]:
        """A file of every segment of every run."""
        segments = range(1, self.plan.segments + 1)
        return [self.of_segment(file, *chain, segment) for chain in self.plan.chains for segment in segments]

    def of_checkpoints(self, file: str, steps: Collection[int]) -> list[str]:
        """A file of these checkpoints of every run; step 0 is the unedited model's."""
        return [f"{self._at_checkpoint(layout.CHECKPOINT, *place)}/{file}" for place in self.plan.at(steps)]

    def kept_vectors(self) -> list[str]:
        """The files of raw activations that the study keeps."""
        sites = self.study.vectors.sites
        folders = [self._at_checkpoint(layout.VECTORS, *place) for place in self.plan.kept_vectors]
        return [f"{folder}/{site}.parquet" for folder in folders for site in sites]

    def _at_checkpoint(self, template: str, model: str, editor: str, order: int, step: int) -> str:
        return template.format(study=self.study.study, model=model, editor=editor, order=order, step=step)

    def chains_of_table(self, table: str) -> list[str]:
        """The runs that a table has rows of, as model/editor/order."""
        if table == layout.SINGLE_EDITS:
            return [f"{run}/0" for run in self.plan.single_edit_runs]
        if table == layout.INTERVENTIONS:
            return [f"{run}/0" for run in self.plan.interventions]
        return ["/".join(map(str, chain)) for chain in self.plan.chains]

    def rows_of_table(self, table: str) -> list[str]:
        """Each file that holds rows of a table; the times of edits stand beside their log."""
        for name, template, runs in (
            (layout.SINGLE_EDITS, layout.SINGLE_EDITS_FILE, self.plan.single_edit_runs),
            (layout.INTERVENTIONS, layout.INTERVENTION, self.plan.interventions),
        ):
            if table == name:
                of = [run.split("/") for run in runs]
                return [template.format(study=self.study.study, model=m, editor=e) for m, e in of]
        of_segments = (*layout.SEGMENT_TABLES, layout.STREAM)
        files = self.of_segments(f"{table}.parquet") if table in of_segments else []
        if table in CHECKPOINT_TABLES:
            files += self.of_checkpoints(f"{table}.parquet", [0, *self.plan.checkpoints])
        if table == layout.ABILITY_TABLE:
            files += self.of_checkpoints(layout.ABILITY_FILE, self.plan.evaluated)
        return files + (self.of_segments(layout.TIMING_FILE) if table == "edits" else [])

    def vetted(self) -> list[str]:
        """Files with the recall and the success of single edits of each model that the study trains."""
        folders = [layout.MODEL.format(model=model) for model in self.study.models if model in self.plan.trained()]
        return [f"{folder}/{name}.json" for folder in folders for name in ("figures", "editability")]

    def models_read(self) -> list[str]:
        """The models that tables are made of: those that are edited, and those that interventions begin or end with."""
        compared = [what for what in self.study.interventions.values() if isinstance(what, CheckpointDifference)]
        return sorted({*self.study.models, *(model for what in compared for model in (what.base, what.result))})

    def data_of_intervention(self, model: str, name: str) -> tuple[str, str]:
        """Input of an intervention on a model, as the name of its option and a file: text, facts or the model after."""
        what = self.study.interventions[name]
        if isinstance(what, CheckpointDifference):
            return "result", layout.MANIFEST.format(model=what.result)
        if what.text:
            return "text", layout.TEXT.format(text=what.text)
        return "facts", self.facts_of(model, what.facts)

    def option_of_intervention(self, model: str, name: str) -> dict[str, Path]:
        """The option of the command that names what an intervention reads; a model is named by its folder."""
        option, file = self.data_of_intervention(model, name)
        return {option: Path(file).parent if option == "result" else Path(file)}

    def data_of_interventions(self) -> list[str]:
        """The texts and facts that the interventions of this study read."""
        read = [self.data_of_intervention(*run.split("/")) for run in self.plan.interventions]
        return sorted({file for option, file in read if option != "result"})
