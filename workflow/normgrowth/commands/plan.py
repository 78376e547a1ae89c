"""Print what a study will cost before anything runs: jobs, GPU memory, disk and hours."""

import math
import re
from collections.abc import Sequence

from pydantic import Field

from normgrowth.errors import StudyError
from normgrowth.jobs.of_study import OfStudy
from normgrowth.study.costs import Cost, costs, figures
from normgrowth.study.study_files import read_study


class Plan(OfStudy):
    """A study, and the memory of the available GPU."""

    fit: str | None = Field(
        None, description="memory of the GPU at hand, as 24GB: say what will not fit, and what would"
    )


def run(job: Plan) -> None:
    """Load the study as the workflow does, and print its costs."""
    room = _gigabytes(job.fit) if job.fit else None
    study = read_study(job.study, job.config)
    rows = costs(study)
    runs = sum(row.runs for row in rows)
    print(f"{study.study}: {study.edits:,} edits in segments of {study.segment:,}, {runs:,} runs\n")
    print("\n".join(_table(rows)))
    print(
        "\nGPU hours are of one GPU, fitted to published timings of code that searches and scores one fact at a time:\n"
        "upper bounds. Core hours are of one processor core, for a study without a GPU; right within a factor of two.\n"
        "Memory is in float32, for the editor's own batch. Statistics, figures, and the training of models and of\n"
        "hypernetworks are not in it."
    )
    if room is not None:
        print("\n".join(["", *_fit(rows, room, study.gpus)]))


def _table(rows: Sequence[Cost]) -> list[str]:
    cells: list[tuple[str, ...]] = [("model", "editor", "runs", "jobs", "GPU GB", "disk GB", "GPU hours", "core hours")]
    cells += [(row.model, row.editor, *_amounts([row])) for row in rows]
    cells.append(("all", "", *_amounts(rows)))
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return [
        "  ".join(
            f"{cell:{w}}" if i < 2 else f"{cell:>{w}}" for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]


def _amounts(rows: Sequence[Cost]) -> tuple[str, ...]:
    """Sums over rows, and their largest memory."""
    runs, jobs = sum(row.runs for row in rows), sum(row.jobs for row in rows)
    disk, hours, core_hours = (sum(getattr(row, name) for row in rows) for name in ("disk", "hours", "core_hours"))
    memory = f"{max(row.memory for row in rows):.1f}"
    return f"{runs:,}", f"{jobs:,}", memory, f"{disk:.2f}", f"{hours:.1f}", f"{core_hours:,.2f}"


def _fit(rows: Sequence[Cost], room: float, gpus: int) -> list[str]:
    """Lines on the rows that exceed `gpus` GPUs of `room` gigabytes each, and on hardware that would hold them."""
    space = f"{room:g} GB" if gpus == 1 else f"{gpus} GPUs of {room:g} GB"
    too_large = [row for row in rows if row.memory > room * gpus]
    if not too_large:
        return [f"All of it fits into {space}."]
    lines = [f"{len(too_large)} of {len(rows)} do not fit into {space}:"]
    for row in too_large:
        cards = [name for name, memory in figures().cards.items() if memory >= row.memory]
        several = f"`gpus: {math.ceil(row.memory / room)}`"
        lines.append(
            f"  {row.editor} on {row.model}: {row.memory:.1f} GB; "
            f"{cards[0] if cards else 'no single card'} would do, or {several}"
        )
    fitting = sorted({row.model for row in rows} - {row.model for row in too_large})
    lines.append(f"Whole models that fit: {', '.join(fitting) or 'none'}.")
    return lines


def _gigabytes(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:G|GB|GiB)?", text.strip(), re.IGNORECASE)
    if not found or float(found[1]) == 0:
        raise StudyError(f"--fit is {text!r}: give the GPU's memory in gigabytes, as 24GB")
    return float(found[1])
