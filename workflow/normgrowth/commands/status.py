"""Say how far each run of a study has come, and how long the study will take: edits, measurements, the time left."""

import os
import threading
import time
from pathlib import Path

from pydantic import Field

from normgrowth.checked import Count
from normgrowth.jobs.of_study import OfStudy
from normgrowth.progress import clock
from normgrowth.study.plan import Plan
from normgrowth.study.study_files import read_study


class Status(OfStudy):
    """A study, how often its runs are looked at, and how many jobs run at once."""

    watch: float | None = Field(
        None, gt=0, lt=threading.TIMEOUT_MAX, description="say it again every so many seconds until all is done"
    )
    jobs: Count | None = Field(
        None, description="jobs that run at once (default: as many as this machine's processors or GPU allow)"
    )


def run(job: Status) -> None:
    """Read the files that the runs have written so far, and print a line for each run and one for the study."""
    # pyarrow: kept out of --help
    from normgrowth.runs.status import StudyRuns, chains, line_of
    from normgrowth.runs.time_left import edits, measurements, seconds_left

    plan = Plan(read_study(job.study, job.config))
    study = plan.study
    runs = StudyRuns(study.study, [*plan.chains], plan.segments, study.segment, study.edits)
    at_once = job.jobs or (1 if study.device == "cuda" else max(1, (os.cpu_count() or 1) // study.threads))
    while True:
        found = chains(runs, Path.cwd())
        measured = measurements(study.study, plan.measured, Path.cwd())
        done, total = sum(status.done for status in found), sum(status.total for status in found)
        open_measurements = sum(work.left for work in measured)
        left = f"{study.study}: {done:,} of {total:,} edits"
        left += f", {len(measured) - open_measurements:,} of {len(measured):,} measurements"
        if done < total or open_measurements:
            left += f", {_left(seconds_left(edits(found)), seconds_left(measured), at_once)}"
        print("\n".join([*map(line_of, found), left]), flush=True)
        if not job.watch or (done == total and not open_measurements):
            return
        time.sleep(job.watch)
        print()


def _left(editing: float | None, measuring: float | None, jobs: int) -> str:
    """The time left in words, by seconds of edits and of measurements, one job after another."""
    if editing is None or measuring is None:
        return "time left not known yet"
    return f"about {clock((editing + measuring) / jobs)} left at {jobs} job{'s' * (jobs > 1)} at once"
