"""Take a model from a local folder: check it, link its files and record their hashes."""

from pathlib import Path

from pydantic import Field

from normgrowth.jobs.job import Job
from normgrowth.sources.checkpoint_files import model_files


class ImportModel(Job):
    """A model folder of the user's own."""

    path: Path = Field(description="folder as transformers saves it, with safetensors")
    out: Path = Field(description="model folder to make")


def run(job: ImportModel) -> None:
    """Check the files that loading needs, link them and write the manifest."""
    # torch: kept out of planning and of --help
    from normgrowth.sources.loading import link_model

    # The manifest does not say where the folder is: one that was moved is the same model.
    link_model(model_files(job.path), job.out, {"kind": "local"}, f"model folder {job.path}")
