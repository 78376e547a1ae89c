"""Say how far each run of a study has come: edits done, their rate, the time left."""

import threading
import time
from pathlib import Path

from pydantic import Field

from normgrowth.jobs.of_study import OfStudy
from normgrowth.study.plan import Plan
from normgrowth.study.study_files import read_study


class Status(OfStudy):
    """A study, and how often its runs are looked at."""

    watch: float | None = Field(
        None, gt=0, lt=threading.TIMEOUT_MAX, description="say it again every so many seconds until all is done"
    )


def run(job: Status) -> None:
    """Read the files that the runs have written so far, and print a line for each run."""
    # pyarrow: kept out of --help
    from normgrowth.runs.status import StudyRuns, chains, line_of

    plan = Plan(read_study(job.study, job.config))
    study = plan.study
    runs = StudyRuns(study.study, [*plan.chains], plan.segments, study.segment, study.edits)
    while True:
        found = chains(runs, Path.cwd())
        done = sum(status.done for status in found)
        total = sum(status.total for status in found)
        print("\n".join([*map(line_of, found), f"{study.study}: {done:,} of {total:,} edits"]), flush=True)
        if not job.watch or done == total:
            return
        time.sleep(job.watch)
        print()
