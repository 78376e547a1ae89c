"""Fetch a model from the Hugging Face Hub at a pinned commit, and link its files."""

from pathlib import Path

from pydantic import Field

from normgrowth.jobs.as_planned import AsPlanned
from normgrowth.lm.context_length import context_length
from normgrowth.sources.checkpoint_files import CONFIG
from normgrowth.sources.model_config import layers_in, read_config


class FetchModel(AsPlanned):
    """A model on the Hub."""

    repo: str = Field(description="repository, as owner/name")
    revision: str = Field(description="full hash of the commit")
    out: Path | None = Field(None, description="model folder to make (default: only fill the cache)")


def run(job: FetchModel) -> None:
    """Fetch what is missing in the Hub's cache, check it against the study, and make the folder."""
    # huggingface_hub: kept out of planning and of --help, which it would slow down
    from normgrowth.sources.hub import fetch_model

    files = fetch_model(job.repo, job.revision)
    config = next(file for file in files if file.name == CONFIG)
    layers = layers_in(config) if job.layers is not None else None
    job.require_as_planned(layers, context_length(read_config(config)), job.repo)
    if job.out is not None:
        # torch: kept out of planning and of --help
        from normgrowth.sources.loading import link_model

        source = {"kind": "hub", "repo": job.repo, "revision": job.revision}
        link_model(files, job.out, source, f"{job.repo} at {job.revision}")
