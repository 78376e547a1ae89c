"""Time that a study's edits and measurements have left, by how long those took that are done."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from normgrowth import layout
from normgrowth.io.columns import CHECKPOINT_TABLES
from normgrowth.progress import clock
from normgrowth.runs.status import ChainStatus


class Work(NamedTuple):
    """Jobs on a model that take alike: the edits of a run, or a measurement."""

    model: str
    kind: str  # the editor's name, of runs; of measurements, whether the model is edited
    left: int  # edits, or measurements
    seconds: float | None  # of one of them; None where none is done


def seconds_left(work: Sequence[Work]) -> float | None:
    """Seconds that work has left, one job after another; None where nothing tells.

    What is not begun takes as long as others of its kind do on the same model, or else as others of any kind do there.
    """
    times: dict[tuple[str, ...], list[float]] = defaultdict(list)  # by model and kind, and by model
    for one in work:
        if one.seconds is not None:
            times[one.model, one.kind].append(one.seconds)
            times[one.model,].append(one.seconds)
    usual = {like: fmean(seconds) for like, seconds in times.items()}
    total = 0.0
    for one in work:
        if one.left:
            seconds = one.seconds or usual.get((one.model, one.kind)) or usual.get((one.model,))
            if seconds is None:
                return None
            total += one.left * seconds
    return total


def edits(chains: Iterable[ChainStatus]) -> list[Work]:
    """The edits of each run."""
    return [
        Work(run.model, run.editor, run.total - run.done, 1 / run.per_second if run.per_second else None)
        for run in chains
    ]


def measurements(study: str, checkpoints: Iterable[tuple[str, str, int, int]], folder: Path) -> list[Work]:
    """The measurement of each checkpoint.

    Args:
        checkpoints: model, editor, order and step of each.
        folder: holds `results/` and `logs/`.
    """
    found = []
    for model, editor, order, step in checkpoints:
        names = {"study": study, "model": model, "editor": editor, "order": order, "step": step}
        done = (folder / layout.CHECKPOINT.format(**names) / f"{CHECKPOINT_TABLES[-1]}.parquet").is_file()
        kind = "unedited" if editor == layout.UNEDITED else "edited"
        seconds = _seconds(folder / layout.MEASURE_BENCHMARK.format(**names)) if done else None
        found.append(Work(model, kind, 0 if done else 1, seconds))
    return found


def line_of_study(study: str, edited: Sequence[Work], measured: Sequence[Work], edits: int, jobs: int) -> str:
    """One line on the progress of a study.

    Args:
        edited, measured: its edits and its measurements.
        edits: of all runs, done or not.
        jobs: that run at once.
    """
    left = sum(work.left for work in edited), sum(work.left for work in measured)
    done = f"{study}: {edits - left[0]:,} of {edits:,} edits"
    done += f", {len(measured) - left[1]:,} of {len(measured):,} measurements"
    if not any(left):
        return done
    editing, measuring = seconds_left(edited), seconds_left(measured)
    at_once = f"at {jobs} job{'s' * (jobs > 1)} at once"
    if editing is None:
        return f"{done}, time left not known yet"
    if measuring is None:
        return f"{done}, edits about {clock(editing / jobs)} {at_once}; no measurement has been timed yet"
    return f"{done}, about {clock((editing + measuring) / jobs)} left {at_once}"


def _seconds(benchmark: Path) -> float | None:
    """Wall time of a job by Snakemake's record of it; None where there is none."""
    try:
        return float(json.loads(benchmark.read_text().splitlines()[-1])["s"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
