"""Apply one segment of edits to a model and record what they do to it."""

from dataclasses import replace
from pathlib import Path

from pydantic import Field

from normgrowth.editors.settings import FollowerSettings
from normgrowth.errors import StudyError
from normgrowth.facts.orders import steps_of
from normgrowth.facts.streams import first_edits
from normgrowth.io.provenance import file_sha256
from normgrowth.jobs.with_editor import EditingInOrder


class Edit(EditingInOrder):
    """A segment of a run."""

    segment: int = Field(description="number of the segment, from 1")
    first: int = Field(description="first edit of the segment, from 1")
    last: int = Field(description="last edit of the segment")
    of: int | None = Field(None, description="edits of the run: its first segment looks at all of them beforehand")
    trajectory: Path | None = Field(None, description="norms of the same segment of the run that an arm follows")
    chain: Path = Field(description="folder of the run, with the earlier segments")


def run(job: Edit) -> None:
    """Restore the end of the segment before, edit, and write the segment's folder."""
    # torch: kept out of planning and of --help
    from normgrowth.editors.resources import read_trajectory
    from normgrowth.lm.prompt_lengths import require_edits
    from normgrowth.runs.segment import Run, Segment, run_segment

    settings = job.settings
    if job.stream.active and settings.batch > job.stream.gap:
        raise StudyError(
            f"--stream has a gap of {job.stream.gap}, less than the batch of {job.editor_name} ({settings.batch}): a "
            "batch could hold two edits of one fact"
        )
    facts, order = job.facts_and_order()
    chosen = steps_of(order, job.first, job.last)
    # A prompt that is too long is found now, and not at its edit, hours later.
    ahead = steps_of(order, 1, job.of) if job.segment == 1 and job.of else chosen
    templates = job.templates(settings)
    lm = job.load()
    require_edits(lm, ahead, templates)
    resources = job.gathered(lm, settings, first_edits(order), job.run_seed, job.kept_out(facts))
    inputs, of_segment = job.inputs, {}
    if job.trajectory:
        if not isinstance(settings, FollowerSettings):
            raise StudyError(f"--trajectory is for control arms that follow a run, and {job.editor} follows none")
        followed = {"study": job.study, "model": job.model_name, "editor": settings.editor, "order": job.order}
        of = {"segment": job.segment, **inputs}
        resources = replace(resources, trajectory=read_trajectory(job.trajectory, followed, of, settings.layers or ()))
        of_segment = {"trajectory": file_sha256(job.trajectory)}
    run_segment(
        Run(job.study, job.model_name, job.editor_name, job.order, {**inputs, **job.made_with}, of_segment),
        lm,
        job.declaration.build(settings),
        resources,
        Segment(job.chain, job.segment, job.first, chosen, settings.batch, job.stream.active),
    )
