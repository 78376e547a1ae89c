"""Write down what made a study's results, once every input is found to be what the tables were made from."""

import platform
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from normgrowth.io.documents import write_json
from normgrowth.io.provenance import file_sha256, provenance
from normgrowth.jobs.job import Job, parsed
from normgrowth.sources.manifest import QUANTISATION

LOCK = "envs/lock.txt"
"""Path of the package list as recorded, relative to the repository."""

GATHERED = ("statistics", "null_spaces", "gradient_moments", "hypernetwork")
ROLES = ("facts", "text", "heldout", "contexts", *GATHERED, "data")
"""Inputs whose hashes tables record, by the name under which they do."""


class Provenance(Job):
    """A study's inputs, and the tables that were made from them."""

    study: Annotated[dict[str, Any], BeforeValidator(parsed)] = Field(
        description="the study with all its settings, as JSON"
    )
    models: tuple[Path, ...] = Field((), description="model folders")
    facts: tuple[Path, ...] = Field((), description="files of facts")
    text: tuple[Path, ...] = Field((), description="files of text")
    heldout: tuple[Path, ...] = Field((), description="files of heldout")
    contexts: tuple[Path, ...] = Field((), description="files of contexts")
    statistics: tuple[Path, ...] = Field((), description="files of statistics")
    null_spaces: tuple[Path, ...] = Field((), description="files of null spaces")
    gradient_moments: tuple[Path, ...] = Field((), description="files of moments of gradients")
    hypernetwork: tuple[Path, ...] = Field((), description="files of hypernetworks")
    data: tuple[Path, ...] = Field((), description="files of data of interventions")
    lock: Path | None = Field(None, description="list of the pinned packages")
    figures: tuple[Path, ...] = Field((), description="what trained models reach: JSON files in their folders")
    tables: tuple[Path, ...] = Field((), description="tables that were made from these inputs")
    out: Path = Field(description="JSON file to write")


def run(job: Provenance) -> None:
    """Write settings, hashes of inputs and versions; no times or paths, so that equal work gives equal bytes."""
    # torch and pandas: kept out of planning and of --help
    from normgrowth.runs.inputs_at_hand import quality_of_model, read_inputs, require_made_from, verified_models

    models = verified_models(job.models)
    inputs = read_inputs({role: getattr(job, role) for role in ROLES})
    said: dict[str, dict[str, object]] = {name: {"revision": found} for name, found in models.revisions.items()}
    for name, note in models.quantised.items():
        said[name][QUANTISATION] = note
    for path in sorted(job.figures):
        name = path.parent.name
        said[name][path.stem] = quality_of_model(path, models.revisions[name])
    for path in job.tables:
        require_made_from(path, job.study, models, inputs)
    inputs.require_models(models)
    hashes = dict(models.manifests)
    for found in inputs.hashes.values():
        hashes |= found
    if job.lock:
        hashes[LOCK] = file_sha256(job.lock)
    write_json(job.out, provenance(models=said, study=job.study, inputs=hashes, python=platform.python_version()))
