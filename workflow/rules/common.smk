# Shared by all rules: names, resources and parameters that follow from the study. Contains no rule.
#
# A job's command-line words are a function of its inputs and outputs; Snakemake does not compare such parameters.
# Compared parameters stand beside them: fingerprints of code, and one string `name: value` per setting.

import json
from functools import cache
from pathlib import Path

from normgrowth import layout
from normgrowth.commands.card import Card
from normgrowth.commands.check_editable import CheckEditable
from normgrowth.commands.claims import Claims
from normgrowth.commands.collect import Collect
from normgrowth.commands.contexts import Contexts
from normgrowth.commands.draw import Draw
from normgrowth.commands.edit import Edit
from normgrowth.commands.evaluate import Evaluate
from normgrowth.commands.extract import Extract
from normgrowth.commands.fetch_file import FetchFile
from normgrowth.commands.fetch_model import FetchModel
from normgrowth.commands.hypernetwork import Hypernetwork
from normgrowth.commands.import_facts import ImportFacts
from normgrowth.commands.import_gguf import ImportGguf
from normgrowth.commands.import_model import ImportModel
from normgrowth.commands.import_text import ImportText
from normgrowth.commands.included_facts import IncludedFacts
from normgrowth.commands.intervene import Intervene
from normgrowth.commands.known_facts import KnownFacts
from normgrowth.commands.measure import Measure
from normgrowth.commands.null_spaces import NullSpaces
from normgrowth.commands.provenance import Provenance
from normgrowth.commands.report import Report
from normgrowth.commands.single_edits import SingleEdits
from normgrowth.commands.statistics import Statistics
from normgrowth.commands.train import Train
from normgrowth.commands.world import World
from normgrowth.commands.write_text import WriteText
from normgrowth.editors.r_rome import Settings as VettingEditor
from normgrowth.figures.catalogue import FIGURES, figures_of
from normgrowth.fingerprint import beyond, closure, numerics, versions
from normgrowth.io.columns import CHECKPOINT_TABLES, MEASURES, OF_MODEL
from normgrowth.jobs.command_line import words
from normgrowth.lm.context_length import as_words
from normgrowth.sources.toy.toy_settings import TrainingSettings, Vetting, WorldSettings
from normgrowth.study.inputs import contents_of, contents_of_model, layers_of, task_files
from normgrowth.study.inputs_of_runs import BEFORE, RELATIVE, Files, threshold_of
from normgrowth.study.checks import lengths_asked
from normgrowth.study.parameters import fixed, flat, flat_editor, in_slots, names_of, prefixed, said, varying
from normgrowth.study.downloads import every_download, format_of, needed_downloads, needed_models, texts_written
from normgrowth.study.requests import MINUTES, ONE_PROCESS, megabytes, megabytes_to_import
from normgrowth.study.requests import minutes_of_checkpoint, minutes_of_segment
from normgrowth.training.training_settings import InterventionTraining


def any_of(names):
    """A wildcard's pattern: one of these names, or nothing where there are none."""
    return "|".join(sorted(names)) or "(?!)"


FILES = Files(PLAN)

OPTIONAL = [layout.SINGLE_EDITS] * bool(STUDY.single_edits) + [layout.INTERVENTIONS] * bool(PLAN.interventions)
OPTIONAL += [layout.STREAM] * STUDY.stream.active
TABLES = sorted({*layout.SEGMENT_TABLES, *CHECKPOINT_TABLES, *OPTIONAL})

# Those that a study of these editors draws, in the order of the report.
EDITORS_DRAWN = (run.split("/")[1] for run in PLAN.runs)
DRAWN = figures_of(EDITORS_DRAWN, bool(PLAN.interventions), STUDY.measure.arms != "none")

TEXT = layout.TEXT.format(text=STUDY.text)
HELDOUT = layout.TEXT.format(text=STUDY.heldout_text)
CONTEXTS = layout.CONTEXTS.format(model="{model}", per_length=STUDY.contexts.per_length, seed=STUDY.seed)

# Fields of jobs: device of a job with a model, and settings that fix an edit order beside its number.
DEVICE = {"device": STUDY.device, "gpus": STUDY.gpus, "precision": STUDY.precision}
ORDER = {
    "seed": STUDY.seed,
    "unique_subjects": STUDY.unique_subjects,
    "reserved": STUDY.reserved_facts,
    "block": STUDY.block,
    "stream": STUDY.stream,
}

# Where facts are edited more than once, each segment notes what its edits were.
NOTED = {"stream": f"{layout.SEGMENT}/{layout.STREAM}.parquet"} if STUDY.stream.active else {}

# Resources of jobs beside time and memory. A GPU is requested only where the study says cuda, so that other machines
# need none; resources from a cluster's own file go to the scheduler and have no effect elsewhere.
ON_CPU = SITE.resources(with_gpu=False)
ON_DEVICE = {"gpu": STUDY.gpus, **SITE.resources(with_gpu=True)} if STUDY.device == "cuda" else ON_CPU

MEASURING_CODE = closure("normgrowth.commands.measure", *(f"normgrowth.measure.{name}" for name in MEASURES))

# An editor's own code is a parameter of its runs alone, and a figure's of that figure.
EDIT = "normgrowth.commands.edit"
SINGLE_EDIT = "normgrowth.commands.single_edits"
HYPERNETWORK_TRAINING = "normgrowth.commands.hypernetwork"
DRAW_CODE = closure("normgrowth.commands.draw")


wildcard_constraints:
    study=STUDY.study,
    model=any_of(STUDY.model_sources),
    editor=any_of({*STUDY.editors, layout.UNEDITED}),
    order=r"\d+",
    segment=r"\d+",
    step=r"\d+",
    table=any_of({*TABLES, layout.SINGLE_EDITS, layout.INTERVENTIONS}),
    figure=any_of(DRAWN),


megabytes_of = cache(lambda model: megabytes(STUDY, model))
minutes_of_chain = cache(lambda model, editor: minutes_of_segment(PLAN, model, editor))
minutes_of_measuring = cache(lambda model: minutes_of_checkpoint(PLAN, model))


def growing(amount):
    """A resource that grows with each attempt."""
    return lambda wildcards, attempt: attempt * amount


def memory(wildcards, attempt):
    """Megabytes of a job with a model."""
    return attempt * megabytes_of(wildcards.model)


def memory_to_import(wildcards, attempt):
    """Megabytes of a job that turns a GGUF file into float32."""
    return attempt * megabytes_to_import(STUDY, wildcards.model)


def minutes_to_edit(wildcards, attempt):
    return attempt * minutes_of_chain(wildcards.model, wildcards.editor)


def minutes_to_measure(wildcards, attempt):
    return attempt * minutes_of_measuring(wildcards.model)


def source_of_model(wildcards):
    return STUDY.model_sources[wildcards.model]


def model_folder(wildcards):
    return layout.MODEL.format(model=wildcards.model)


def facts_of(wildcards):
    """The facts that a model is edited with."""
    return FILES.facts_of(wildcards.model)


def needed_of(wildcards):
    """The number of known facts that a model needs, and what draws edit orders from them, as fields of a job."""
    if wildcards.facts != STUDY.facts:
        return {}  # an intervention's own facts
    drawn = {name: ORDER[name] for name in ("seed", "unique_subjects", "reserved", "stream")}
    return {"needed": PLAN.edited_facts(wildcards.model), **drawn}


def run_of(wildcards, order=None):
    """The names of a run, as fields of a job."""
    return {
        "study": wildcards.study,
        "model_name": wildcards.model,
        "editor_name": wildcards.editor,
        "order": wildcards.order if order is None else order,
        "model": model_folder(wildcards),
    }


def checkpoint_of(wildcards):
    """A checkpoint and the states that lead to it, as fields of a job; the unedited model needs none."""
    step = int(wildcards.step)
    fields = {**run_of(wildcards), **ORDER, **DEVICE, "step": step}
    if segments := PLAN.segment_at(step):
        fields |= {"chain": layout.RUN.format(**wildcards), "segments": segments}
    return fields


def state_before(wildcards):
    """The last state before a checkpoint."""
    return FILES.state_at(wildcards.model, wildcards.editor, wildcards.order, int(wildcards.step))


def first_order_of(wildcards):
    """Of an unedited model in another order than its first: the tables of the first that depend on no order."""
    if wildcards.editor != layout.UNEDITED or wildcards.order == "0":
        return []
    return expand(f"{layout.CHECKPOINT}/{{table}}.parquet", table=OF_MODEL, **{**wildcards, "order": 0})


def unedited_of(wildcards):
    """Of an edited model: the unedited model's tables in the same order that its measures read."""
    if wildcards.editor == layout.UNEDITED:
        return []
    names = {**wildcards, "editor": layout.UNEDITED, "step": 0}
    return expand(f"{layout.CHECKPOINT}/{{table}}.parquet", table=layout.UNEDITED_TABLES, **names)


def folder_of(files):
    """The folder of input files, as a field of a job; None where there are none."""
    return Path(files[0]).parent if files else None


def gathered(wildcards):
    return FILES.gathered(wildcards.model, wildcards.editor)


def before_segment(wildcards):
    return FILES.before_segment(wildcards.model, wildcards.editor, wildcards.order, int(wildcards.segment))


def editor_of(wildcards):
    """An editor and its settings, as fields of a job."""
    editor = PLAN.editor(wildcards.model, wildcards.editor)
    return {"editor": editor.kind, "settings": editor.settings}


@cache
def code_of_editor(model, name, command):
    """The fingerprints of an editor that are not those of its command, and the versions of its own libraries."""
    editor = PLAN.editor(model, name)
    return [*beyond(closure(command), *editor.modules), *versions(*editor.libraries)]


def intervention_kind(wildcards):
    """The kind of training, or the kind that stands for a comparison."""
    what = STUDY.interventions[wildcards.intervention]
    return getattr(what, "intervention", what.kind)


def evaluated_of(wildcards):
    """The steps at which the harness's tasks give rows of the table."""
    return PLAN.evaluated if wildcards.table == layout.ABILITY_TABLE else []


def models_of(editor):
    """Category of a run in the report: Snakemake offers a switch between two models only if both have every run."""
    everywhere = all(editor in PLAN.editors_of(model) for model in STUDY.models)
    return "Editors of every model" if everywhere else "Editors of some models"


# Settings as parameters, which are compared one by one.
flat_editor_of = cache(lambda model, name: flat_editor(PLAN.editor(model, name)))
flat_model = cache(lambda model, section: flat(getattr(STUDY.model_sources[model], section)))
flat_vetting_editor = cache(lambda model: flat(PLAN.vetting_editor(model)))
flat_world = cache(lambda world: flat(STUDY.worlds[world].settings))
flat_checkpoint = cache(lambda step: flat(PLAN.checkpoint_settings(step)))
flat_intervention = cache(lambda name: flat(getattr(STUDY.interventions[name], "training", {})))
EDITOR_SETTINGS = in_slots(lambda w: flat_editor_of(w.model, w.editor))
MEASURE_SETTINGS = varying(
    lambda w: flat_checkpoint(int(w.step)), map(flat_checkpoint, [0, *PLAN.checkpoints]), names_of(type(STUDY.measure))
)
WORLD_SETTINGS = varying(lambda w: flat_world(w.world), map(flat_world, STUDY.worlds), names_of(WorldSettings))
TRAINING_SETTINGS = varying(
    lambda w: flat_model(w.model, "training"),
    [flat_model(model, "training") for model in PLAN.trained()],
    names_of(TrainingSettings),
)
VETTING_SETTINGS = varying(
    lambda w: flat_model(w.model, "vetting"),
    [flat_model(model, "vetting") for model in PLAN.trained()],
    names_of(Vetting),
)
VETTING_EDITOR_SETTINGS = varying(
    lambda w: flat_vetting_editor(w.model), map(flat_vetting_editor, PLAN.trained()), names_of(VettingEditor)
)
INTERVENTION_SETTINGS = varying(
    lambda w: flat_intervention(w.intervention),
    map(flat_intervention, STUDY.interventions),
    names_of(InterventionTraining),
)
DEVICE_SETTINGS = flat(DEVICE)
ORDER_SETTINGS = flat(ORDER, leave_out={"stream"})
if STUDY.stream.active:
    ORDER_SETTINGS |= flat(STUDY.stream)
STYLE_SETTINGS = flat(STUDY.figures)
