"""Sample the context templates of a model."""

from pathlib import Path

from pydantic import Field

from normgrowth.io.documents import write_json
from normgrowth.jobs.on_model import OnModel
from normgrowth.sources.manifest import revision


class Contexts(OnModel):
    """A model, and the number of context templates to sample from it."""

    seed: int = Field(description="seed of the study")
    per_length: int = Field(10, description="continuations at each of two lengths")
    out: Path = Field(description="JSON file to write")


def run(job: Contexts) -> None:
    """Sample from the unedited model and write both template sets."""
    # torch: kept out of planning and of --help
    from normgrowth.lm.context_templates import sample_contexts
    from normgrowth.lm.prompt_lengths import require_windows

    lm = job.load()
    require_windows(lm, {})
    of = {"model": revision(job.model), "seed": job.seed, "per_length": job.per_length}
    write_json(job.out, {**of, "templates": sample_contexts(lm, job.seed, job.per_length)})
