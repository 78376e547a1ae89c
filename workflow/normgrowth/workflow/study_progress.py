"""Progress of a study, and the time that it has left."""

from pathlib import Path

from normgrowth.runs.status import ChainStatus, StudyRuns, chains
from normgrowth.runs.time_left import edits, line_of_study, measurements
from normgrowth.study.plan import Plan


class StudyProgress:
    """Progress of a study, by the files that its jobs have written so far."""

    def __init__(self, plan: Plan, folder: Path, jobs: int) -> None:
        """Look at a plan's results below `folder`; at most `jobs` of its jobs run at once."""
        study, runs = plan.study, [*plan.chains]
        self._study, self._measured, self._folder = study.study, plan.measured, folder
        self._jobs = max(1, min(jobs, len(runs)))  # a run's segments follow each other
        self._runs = StudyRuns(study.study, runs, plan.segments, study.segment, study.edits)

    def look(self) -> tuple[list[ChainStatus], str, float]:
        """The state of each run, a line on the whole study, and the share done of its edits and measurements."""
        found = chains(self._runs, self._folder)
        edited, measured = edits(found), measurements(self._study, self._measured, self._folder)
        total = sum(status.total for status in found)
        left = sum(work.left for work in (*edited, *measured))
        share = 1 - left / (total + len(measured)) if found or measured else 1.0
        return found, line_of_study(self._study, edited, measured, total, self._jobs), share
