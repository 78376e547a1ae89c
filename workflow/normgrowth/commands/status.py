"""Say how far each run of a study has come, and how long the study will take: edits, measurements, the time left."""

import os
import threading
import time
from pathlib import Path

from pydantic import Field

from normgrowth.checked import Count
from normgrowth.jobs.of_study import OfStudy
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
    from normgrowth.runs.time_left import edits, line_of_study, measurements

    plan = Plan(read_study(job.study, job.config))
    study = plan.study
    runs = StudyRuns(study.study, [*plan.chains], plan.segments, study.segment, study.edits)
    at_once = job.jobs or (1 if study.device == "cuda" else max(1, (os.cpu_count() or 1) // study.threads))
    while True:
        found = chains(runs, Path.cwd())
        edited, measured = edits(found), measurements(study.study, plan.measured, Path.cwd())
        whole = line_of_study(study.study, edited, measured, sum(status.total for status in found), at_once)
        print("\n".join([*map(line_of, found), whole]), flush=True)
        if not job.watch or not any(work.left for work in (*edited, *measured)):
            return
        time.sleep(job.watch)
        print()
