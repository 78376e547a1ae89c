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
    from normgrowth.runs.status import line_of
    from normgrowth.workflow.study_progress import StudyProgress

    plan = Plan(read_study(job.study, job.config))
    study = plan.study
    at_once = job.jobs or (1 if study.device == "cuda" else max(1, (os.cpu_count() or 1) // study.threads))
    progress = StudyProgress(plan, Path.cwd(), at_once)
    while True:
        runs, line, share = progress.look()
        print("\n".join([*map(line_of, runs), line]), flush=True)
        if not job.watch or share == 1:
            return
        time.sleep(job.watch)
        print()
