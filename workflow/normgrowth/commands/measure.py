"""Measure a model after some of its edits: scores, abilities, spectra, and the geometry of activations."""

from pathlib import Path

from pydantic import Field

from normgrowth.jobs.at_checkpoint import Measuring
from normgrowth.jobs.job import Intact


class Measure(Measuring):
    """A checkpoint, and the text for perplexity."""

    heldout: Intact = Field(description="text for perplexity")
    first_order: Path | None = Field(
        None, description="folder of the unedited model's tables in its first order: what depends on no order is taken"
    )
    unedited: Path | None = Field(
        None, description="folder of the unedited model's tables in the same order: what they say is not measured again"
    )
    out: Path = Field(description="folder to write the tables to")


def run(job: Measure) -> None:
    """Bring the model to the step, measure it, write one table for each thing measured."""
    # torch: kept out of planning and of --help
    from normgrowth.io.tables import write_table
    from normgrowth.runs.checkpoint import Checkpoint, measure_checkpoint, of_first_order, of_unedited

    chosen = job.run()
    material, metadata = job.material(chosen, job.heldout)
    checkpoint = Checkpoint(job.step, job.chain, job.segments, chosen.expected)
    known = of_first_order(job.first_order, metadata) if job.first_order else {}
    unedited = of_unedited(job.unedited, metadata) if job.unedited else None
    tables = measure_checkpoint(job.load(), material, checkpoint, known, unedited)
    metadata["state"] = job.digest_of_state()
    for name, frame in tables.items():
        frame = chosen.identify(frame)
        write_table(job.out / f"{name}.parquet", frame, name, metadata)
