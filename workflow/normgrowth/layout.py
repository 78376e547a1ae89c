"""Paths of all files of a study and names of its tables: the contract that rules, commands and readers share.

Paths are templates, relative to the working directory, in which braces name what varies:
`SEGMENT.format(study="demo", model="gpt2-xl", editor="rome", order=0, segment=1)`. Rules use them as they are, because
Snakemake's wildcards have the same form. Templates that end in `_IN` are relative to a study's results, for readers
that are given that folder.
"""

from pathlib import Path

UNEDITED = "unedited"
"""Editor name that stands for the unedited model, in paths and in rows."""

# Inputs, shared by all studies.
MODEL = "resources/models/{model}"
MANIFEST = f"{MODEL}/manifest.json"
FACTS = "resources/facts/{facts}.json"
KNOWN_FACTS = "resources/facts/{facts}/known-by-{model}.json"
"""Path of the facts that a model gets right before any edit."""
TEXT = "resources/text/{text}.txt"
HELDOUT_SUFFIX = "-heldout"
"""Added to a world's name for the name of its held-out text."""
CORPUS = "resources/text/{world}-corpus.jsonl"
DOWNLOAD = "resources/web/{sha256}"
CONTEXTS = "resources/statistics/{model}/contexts-{per_length}-seed{seed}.json"
STATISTICS = "resources/statistics/{model}/{text}-{tokens}x{window}-seed{seed}"
SECOND_MOMENTS = f"{STATISTICS}/layers-{{layers}}.safetensors"
GRADIENT_MOMENTS = f"{STATISTICS}/gradients-{{layers}}.safetensors"
NULL_SPACES = f"{STATISTICS}/null-spaces-{{threshold}}-{{layers}}.safetensors"
HYPERNETWORK_FOLDER = "resources/hypernetworks/{model}/{editor}/{facts}-{reserved}-seed{seed}"
HYPERNETWORK = f"{HYPERNETWORK_FOLDER}/hypernetwork.safetensors"
HYPERNETWORK_QUALITY = f"{HYPERNETWORK_FOLDER}/quality.json"

# Within the results of a study.
RUN_IN = "runs/{model}/{editor}/order-{order}"
SEGMENT_IN = f"{RUN_IN}/segment-{{segment}}"
CHECKPOINT_IN = "measurements/{model}/{editor}/order-{order}/after-{step}"
SINGLE_EDITS_IN = "single-edits/{model}/{editor}.parquet"
INTERVENTION_IN = "interventions/{model}/{editor}.parquet"

# The same from the working directory.
RESULTS = "results/{study}"
RUN = f"{RESULTS}/{RUN_IN}"
SEGMENT = f"{RESULTS}/{SEGMENT_IN}"
CHECKPOINT = f"{RESULTS}/{CHECKPOINT_IN}"
SINGLE_EDITS_FILE = f"{RESULTS}/{SINGLE_EDITS_IN}"
INTERVENTION = f"{RESULTS}/{INTERVENTION_IN}"
VECTORS = f"{RESULTS}/activations/{{model}}/{{editor}}/order-{{order}}/after-{{step}}"
TABLES = f"{RESULTS}/tables"
TABLE = f"{TABLES}/{{table}}.parquet"
FIGURE = f"{RESULTS}/figures/{{figure}}"
"""Path of a figure without its extension: figures are written as PDF, SVG and PNG."""
CARD = f"{RESULTS}/cards/{{model}}/{{editor}}"
"""Path of the card of one run, without its extension."""
CLAIMS_JSON = f"{RESULTS}/claims.json"
CLAIMS_MARKDOWN = f"{RESULTS}/claims.md"
PROVENANCE = f"{RESULTS}/provenance.json"
REPORT = f"{RESULTS}/report.html"

MEASURE_BENCHMARK = "logs/{study}/measure/{model}/{editor}/order-{order}/after-{step}.benchmark.jsonl"
"""Path of Snakemake's record of a measurement's time and memory."""
EDIT_LOG = "logs/{study}/edit/{model}/{editor}/order-{order}/segment-{segment}.log"

# Files of a segment beside its tables.
STATE_FILE = "state.safetensors"
TIMING_FILE = "timing.parquet"
ABILITY_FILE = "ability.parquet"
"""Scores on tasks of the harness at a checkpoint; they become rows of table `downstream`."""

# Names of tables, by what writes their rows.
SEGMENT_TABLES = ("norms", "edits", "scores", "speed")
STREAM = "stream"
"""Table of a segment's edits with their kinds and objects, of studies whose streams edit facts more than once."""
ABILITY_TABLE = "downstream"
SINGLE_EDITS = "single_edits"
INTERVENTIONS = "interventions"

# Names of tables, by who reads them.
CLAIM_TABLES = ("norms", "edits", "activations", "subspaces", "scores", "downstream", "norm_direction")
UNEDITED_TABLES = ("scores", "downstream")
"""Tables of the unedited model that measuring an edited one reads."""
CARD_TABLES = ("norms", "scores", "activations", "downstream")


def segment_folder(run: Path | str, segment: int) -> Path:
    """The folder of one segment, counted from 1, in that of its run."""
    return Path(run) / f"segment-{segment}"
