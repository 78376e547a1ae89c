# What rules share: names, paths and parameters that follow from the study. No rule stands here.

import os
from functools import cache
from shlex import quote
from types import SimpleNamespace

from normgrowth.study.downloads import downloads_of, every_download, format_of, needed_downloads, needed_models
from normgrowth.study.inputs import contents_of, contents_of_model, layers_of, local_path, task_files
from normgrowth.study.checks import lengths_asked
from normgrowth.study.plan import compact
from normgrowth.study.requests import MINUTES, ONE_PROCESS, megabytes, minutes_of_checkpoint, minutes_of_segment
from normgrowth.study.sections import CheckpointDifference
from normgrowth.layout import DOWNLOAD, HELDOUT_SUFFIX, UNEDITED
from normgrowth.lm.context_length import as_words
from normgrowth.editors.settings import HYPERNETWORK, NULL_SPACES, SECOND_MOMENTS, TRAJECTORY
from normgrowth.figures.catalogue import FIGURES, figures_of
from normgrowth.fingerprint import beyond, closure, numerics, versions


def any_of(names):
    """A wildcard's pattern: one of these names, or nothing where there are none."""
    return "|".join(sorted(names)) or "(?!)"


TABLES_OF_SEGMENTS = ("norms", "edits", "scores", "speed")
TABLES_OF_CHECKPOINTS = ("scores", "activations", "subspaces", "coordinates", "cka", "spectra", "downstream")
TABLES_OF_CLAIMS = ("norms", "edits", "scores", "activations", "subspaces", "downstream")
TABLES_OF_CARDS = ("norms", "scores", "activations", "downstream")
TABLE_OF_ABILITY = "downstream"
SINGLE_EDITS = "single_edits"
INTERVENTIONS = "interventions"
OPTIONAL = [SINGLE_EDITS] * bool(STUDY.single_edits) + [INTERVENTIONS] * bool(PLAN.interventions)
TABLES = sorted({*TABLES_OF_SEGMENTS, *TABLES_OF_CHECKPOINTS, *OPTIONAL})

# Those that a study of these editors draws, in the order of the report.
DRAWN = figures_of((run.split("/")[1] for run in PLAN.runs), bool(PLAN.interventions))

FACTS = f"resources/facts/{STUDY.facts}.json"
TEXT = f"resources/text/{STUDY.text}.txt"
HELDOUT = f"resources/text/{STUDY.heldout_text}.txt"
CONTEXTS = f"resources/statistics/{{model}}/contexts-{STUDY.contexts.per_length}-seed{STUDY.seed}.json"
CHAIN = "results/{study}/runs/{model}/{editor}/order-{order}"
SEGMENT = f"{CHAIN}/segment-{{segment}}"
VECTORS = "results/{study}/activations/{model}/{editor}/order-{order}/after-{step}"
CHECKPOINT = "results/{study}/measurements/{model}/{editor}/order-{order}/after-{step}"

ORDER = " ".join(
    ["--unique-subjects"] * STUDY.unique_subjects + [f"--reserved {STUDY.reserved_facts}"] * bool(STUDY.reserved_facts)
)

RELATIVE = "relative"  # stands in a file's name for a threshold in the model's own units

# What models run on, as options of a command. The usual precision is not said.
PRECISION = "" if STUDY.precision == "float32" else f" --precision {STUDY.precision}"
GPUS = "" if STUDY.gpus == 1 else f" --gpus {STUDY.gpus}"
DEVICE = f"--device {STUDY.device}{GPUS}{PRECISION}"

# What jobs ask for beside time and memory. A GPU is asked for only where the study says cuda, so that other machines
# need none; what a cluster's own file says goes to the scheduler and means nothing elsewhere.
ON_CPU = SITE.resources(with_gpu=False)
ON_DEVICE = {"gpu": STUDY.gpus, **SITE.resources(with_gpu=True)} if STUDY.device == "cuda" else ON_CPU

# An editor's own code is a parameter of its runs alone, and a figure's of that figure.
EDIT = "normgrowth.commands.edit"
SINGLE_EDIT = "normgrowth.commands.single_edits"
HYPERNETWORK_TRAINING = "normgrowth.commands.hypernetwork"
DRAW_CODE = closure("normgrowth.commands.draw")


wildcard_constraints:
    study=STUDY.study,
    model=any_of(STUDY.model_sources),
    editor=any_of({*STUDY.editors, UNEDITED}),
    order=r"\d+",
    segment=r"\d+",
    step=r"\d+",
    table=any_of({*TABLES, SINGLE_EDITS, INTERVENTIONS}),
    figure=any_of(DRAWN),


def option(name, value):
    """A command-line option, or nothing where there is no value."""
    return f"{name} {value}" if value else ""


def local(path):
    return local_path(path, STUDY.assets)


def task_folder():
    """The folder of the study's own harness tasks, if it has one."""
    return local(STUDY.ability.task_folder) if STUDY.ability.task_folder else None


def fetched_facts(wildcards):
    """The file that facts of the web are imported from."""
    return [file.path for file in downloads_of(STUDY.fact_sources[wildcards.facts])]


def local_facts(wildcards):
    """The file that local facts are imported from."""
    source = STUDY.fact_sources[wildcards.facts]
    return [local(source.path)] if source.kind == "local" else []


def rows_of_text(source):
    """Which rows of Parquet files a text is put together from, as options."""
    column = ["--column", source.column] if source.column else []
    return column + (["--documents", source.documents] if source.documents else [])


def fetched_text(wildcards):
    """The files that a text of the web is put together from."""
    return [file.path for file in downloads_of(STUDY.text_sources[wildcards.text])]


def local_text(wildcards):
    """The files that a local text is put together from."""
    source = STUDY.text_sources[wildcards.text]
    return [local(path) for path in source.paths] if source.kind == "local" else []


def models_from(kind):
    """The models whose source is of this kind."""
    return {model for model, source in STUDY.model_sources.items() if source.kind == kind}


def source_of_model(wildcards):
    return STUDY.model_sources[wildcards.model]


megabytes_of = cache(lambda model: megabytes(STUDY, model))


def memory(wildcards, attempt):
    """Megabytes of a job with a model."""
    return attempt * megabytes_of(wildcards.model)


def growing(amount):
    """A resource of which each attempt gets more."""
    return lambda wildcards, attempt: attempt * amount


minutes_of_chain = cache(lambda model, editor: minutes_of_segment(PLAN, model, editor))
minutes_of_measuring = cache(lambda model: minutes_of_checkpoint(PLAN, model))


def minutes_to_edit(wildcards, attempt):
    return attempt * minutes_of_chain(wildcards.model, wildcards.editor)


def minutes_to_measure(wildcards, attempt):
    return attempt * minutes_of_measuring(wildcards.model)


def editor_of(wildcards):
    return PLAN.editor(wildcards.model, wildcards.editor)


def statistics_at(model, what, layers):
    """A file of statistics of a model at these layers; its folder names the text they are from, and how much of it."""
    source = f"{STUDY.text}-{STUDY.second_moments.tokens}x{STUDY.second_moments.window}-seed{STUDY.seed}"
    return f"resources/statistics/{model}/{source}/{what}-{'-'.join(map(str, layers))}.safetensors"


def gathered(wildcards):
    """What an editor reads that was gathered before: by the name of its option, what the editor needs."""
    editor = editor_of(wildcards)
    model, needs = wildcards.model, editor.needs
    files = {}
    if SECOND_MOMENTS in needs:
        files["statistics"] = statistics_at(model, "layers", editor.settings.layers)
    if NULL_SPACES in needs:
        threshold = editor.settings.working.null_space_threshold
        what = f"null-spaces-{RELATIVE if threshold is None else repr(threshold)}"
        files["null_spaces"] = statistics_at(model, what, editor.settings.layers)
    if HYPERNETWORK in needs:
        # That of the editor which a control arm wraps is the editor's own.
        name = editor.settings.editor if editor.controlled else wildcards.editor
        trained_on = f"{STUDY.facts}-{STUDY.reserved_facts}-seed{STUDY.seed}"
        files["hypernetwork"] = f"resources/hypernetworks/{model}/{name}/{trained_on}/hypernetwork.safetensors"
    return files


@cache
def gathered_for_runs():
    """What the editors of all runs read that was gathered before, by the name of its option."""
    files = {}
    for run in PLAN.runs:
        model, editor = run.split("/")
        for name, file in gathered(SimpleNamespace(model=model, editor=editor)).items():
            files.setdefault(name, set()).add(file)
    return {name: sorted(found) for name, found in sorted(files.items())}


def options_of_gathered():
    """What the editors of all runs read, as options."""
    return " ".join(f"--{name.replace('_', '-')} {' '.join(files)}" for name, files in gathered_for_runs().items())


def gathered_before_segment(wildcards):
    """What a segment reads: beside what was gathered, the norms that a control arm follows, and the state before."""
    editor, files = editor_of(wildcards), gathered(wildcards)
    if TRAJECTORY in editor.needs:
        files["trajectory"] = f"{SEGMENT}/norms.parquet".format(**{**wildcards, "editor": editor.settings.editor})
    if before := state(wildcards, int(wildcards.segment) - 1):
        files["before"] = before
    return files


def editor_options(wildcards, files):
    """An editor, its settings and what it reads, as options of a command; a state before is found from the chain."""
    read = [f" --{name.replace('_', '-')} {file}" for name, file in files.items() if name != "before"]
    return settings_of_editor(wildcards.model, wildcards.editor) + "".join(read)


@cache
def code_of_editor(model, name, command):
    """The fingerprints of an editor that are not those of its command, and the versions of its own libraries."""
    editor = PLAN.editor(model, name)
    return [*beyond(closure(command), *editor.modules), *versions(*editor.libraries)]


@cache
def settings_of_editor(model, name):
    """An editor and its settings, as options of a command."""
    editor = PLAN.editor(model, name)
    return f"--editor {editor.kind} --settings {quote(compact(editor.settings))}"


def vetting_editor(wildcards):
    return PLAN.vetting_editor(wildcards.model)


def vetted_models():
    """What training reached, for each trained model of the study: recall, and success of single edits."""
    models = [model for model in STUDY.models if model in PLAN.trained()]
    return expand("resources/models/{model}/{file}.json", model=models, file=["figures", "editability"])


def state(wildcards, segment):
    """The state after a segment; none before the first."""
    return f"{SEGMENT}/state.safetensors".format(**{**wildcards, "segment": segment}) if segment else []


def chain_options(wildcards):
    """Where the edits before a checkpoint are kept, as options; nothing for the unedited model."""
    segments = PLAN.segment_at(int(wildcards.step))
    return f"--chain {CHAIN.format(**wildcards)} --segments {segments}" if segments else ""


def checkpoint_options(wildcards):
    """The edits before a checkpoint and what is measured there, as options."""
    settings = PLAN.checkpoint_settings(int(wildcards.step))
    return f"{chain_options(wildcards)} --settings {quote(compact(settings))}"


def models_of(editor):
    """Where a run is listed in the report: Snakemake offers a switch between two models only if both have every run."""
    everywhere = all(editor in PLAN.editors_of(model) for model in STUDY.models)
    return "Editors of every model" if everywhere else "Editors of some models"


def intervention_of(wildcards):
    return STUDY.interventions[wildcards.intervention]


def intervention_data(wildcards):
    """What an intervention reads: text, facts, or the model after it; as option and file."""
    what = intervention_of(wildcards)
    if isinstance(what, CheckpointDifference):
        return "--result", f"resources/models/{what.result}/manifest.json"
    return (
        ("--text", f"resources/text/{what.text}.txt")
        if what.text
        else ("--facts", f"resources/facts/{what.facts}.json")
    )


def models_read():
    """The models that tables are made of: those that are edited, and those that interventions begin or end with."""
    compared = [what for what in STUDY.interventions.values() if isinstance(what, CheckpointDifference)]
    return sorted({*STUDY.models, *(model for what in compared for model in (what.base, what.result))})


def data_of_interventions():
    """The texts and facts that interventions read."""
    names = {run.partition("/")[2] for run in PLAN.interventions}
    read = [intervention_data(SimpleNamespace(intervention=name)) for name in names]
    return sorted({file for option, file in read if option != "--result"})


def intervention_option(wildcards):
    name, path = intervention_data(wildcards)
    return f"{name} {os.path.dirname(path) if name == '--result' else path}"


def intervention_kind(wildcards):
    what = intervention_of(wildcards)
    return getattr(what, "intervention", what.kind)


def of_segments(file):
    """A file of every segment of every run."""
    return [
        f"{SEGMENT}/{file}".format(study=STUDY.study, model=model, editor=editor, order=order, segment=segment)
        for model, editor, order in PLAN.chains
        for segment in range(1, PLAN.segments + 1)
    ]


def of_checkpoints(file, steps):
    """A file of these checkpoints of every run; step 0 is the unedited model's."""
    unedited = [(model, UNEDITED, order, 0) for model, order in PLAN.unedited if 0 in steps]
    edited = [(*chain, step) for chain in PLAN.chains for step in steps if step]
    return [
        f"{CHECKPOINT}/{file}".format(study=STUDY.study, model=model, editor=editor, order=order, step=step)
        for model, editor, order, step in unedited + edited
    ]


def kept_vectors():
    """The files of activations that the study keeps."""
    return [
        f"{VECTORS}/{site}.parquet".format(study=STUDY.study, model=model, editor=editor, order=order, step=step)
        for model, editor, order, step in PLAN.kept_vectors
        for site in STUDY.vectors.sites
    ]


def chains_of_table(table):
    """The runs that a table has rows of, as model/editor/order."""
    if table == SINGLE_EDITS:
        return [f"{run}/0" for run in PLAN.single_edit_runs]
    if table == INTERVENTIONS:
        return [f"{run}/0" for run in PLAN.interventions]
    return ["/".join(map(str, chain)) for chain in PLAN.chains]


def rows_of_table(wildcards):
    """Each file that holds rows of a table; the times of edits stand beside their log."""
    table = wildcards.table
    if table == SINGLE_EDITS:
        return [f"results/{wildcards.study}/single-edits/{run}.parquet" for run in PLAN.single_edit_runs]
    if table == INTERVENTIONS:
        return [f"results/{wildcards.study}/interventions/{run}.parquet" for run in PLAN.interventions]
    files = of_segments(f"{table}.parquet") if table in TABLES_OF_SEGMENTS else []
    files += of_checkpoints(f"{table}.parquet", [0, *PLAN.checkpoints]) if table in TABLES_OF_CHECKPOINTS else []
    files += of_checkpoints("ability.parquet", PLAN.evaluated) if table == TABLE_OF_ABILITY else []
    return files + (of_segments("timing.parquet") if table == "edits" else [])
