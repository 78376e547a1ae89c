"""Fetch a model from the Hugging Face Hub at a pinned commit, and link its files."""

from pathlib import Path

from pydantic import Field

from normgrowth.errors import ModelError
from normgrowth.jobs.job import Job
from normgrowth.lm.context_length import context_length, from_words, too_long
from normgrowth.sources.checkpoint_files import CONFIG
from normgrowth.sources.hub import fetch_model
from normgrowth.sources.model_config import layers_in, read_config


class FetchModel(Job):
    """A model on the Hub, and the properties that the study expects of it."""

    repo: str = Field(description="repository, as owner/name")
    revision: str = Field(description="full hash of the commit")
    layers: int | None = Field(None, description="transformer blocks that it must have")
    to_read: tuple[str, ...] = Field((), description="what the study has it read at once, as KEY=TOKENS")
    out: Path | None = Field(None, description="model folder to make (default: only fill the cache)")


def run(job: FetchModel) -> None:
    """Fetch what is missing in the Hub's cache, check it against the study, and make the folder."""
    files = fetch_model(job.repo, job.revision)
    config = next(file for file in files if file.name == CONFIG)
    if job.layers is not None and (found := layers_in(config)) != job.layers:
        raise ModelError(
            f"{job.repo} has {found} layers, but the study took it for a model of {job.layers}: correct "
            "layers or published_as of its source"
        )
    length = context_length(read_config(config))
    if faults := too_long(from_words(job.to_read), length, job.repo):
        raise ModelError("; ".join(faults))
    if job.out is not None:
        # torch: kept out of planning and of --help
        from normgrowth.sources.loading import link_model

        source = {"kind": "hub", "repo": job.repo, "revision": job.revision}
        link_model(files, job.out, source, f"{job.repo} at {job.revision}")
