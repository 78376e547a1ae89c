"""Evaluate tasks of the lm-evaluation-harness on a model after some of its edits."""

from pathlib import Path

from pydantic import Field

from normgrowth.io.provenance import file_sha256, provenance
from normgrowth.jobs.at_checkpoint import AtCheckpoint


class Evaluate(AtCheckpoint):
    """A checkpoint, and tasks of the harness."""

    tasks: tuple[str, ...] = Field(description="tasks, groups or tags of the harness")
    few_shot: int = Field(0, description="solved examples before each item")
    limit: int | None = Field(None, description="items of each task (default: all)")
    task_folder: Path | None = Field(None, description="folder with further tasks, as the harness's YAML files")
    out: Path = Field(description="table to write")


def run(job: Evaluate) -> None:
    """Replay the run's states on the unedited model, and write the scores on the tasks."""
    # torch: kept out of planning and of --help
    from normgrowth.io.tables import write_table
    from normgrowth.measure.harness import evaluate
    from normgrowth.runs.state import restore

    chosen, lm = job.run(), job.load()
    if job.segments:
        restore(lm, job.run_folder(), job.segments, chosen.expected)
    rows, harness = evaluate(lm, list(job.tasks), job.few_shot, job.limit, job.task_folder)
    settings = {"tasks": list(job.tasks), "few_shot": job.few_shot, "limit": job.limit}
    settings["task_files"] = {name: file_sha256(path) for name, path in _files_in(job.task_folder).items()}
    of = {**chosen.identity, **chosen.fixed, "step": job.step, "state": job.digest_of_state()}
    metadata = provenance(**of, ability=settings, harness=harness, device=lm.device.type, dtype="float32")
    write_table(job.out, chosen.identify(rows.assign(step=job.step)), "downstream", metadata)


def _files_in(folder: Path | None) -> dict[str, Path]:
    """The files of the study's own tasks by their paths in the folder, sorted."""
    if folder is None:
        return {}
    found = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): p for p in found if p.is_file() and "__pycache__" not in p.parts}
