"""Screen of a run: its plan, what failed, and now and then a line that counts and says the time left.

Snakemake writes three lines when a job begins and three when it ends, which for the default study are a thousand. They
go to its own log file as before.
"""

import logging
import sys
import threading
import time
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.common import LogEvent

from normgrowth.progress import clock
from normgrowth.study.plan import Plan

HIDDEN = (LogEvent.JOB_INFO, LogEvent.GROUP_INFO, LogEvent.JOB_STARTED, LogEvent.JOB_FINISHED, LogEvent.PROGRESS)
"""Events of Snakemake's that say that a job began or ended."""

CHOOSING = "Select jobs to execute..."
"""Message of Snakemake's scheduler, which bears no event."""

SECONDS = 15.0
"""Seconds between two looks at the files of the runs, at least."""

MOST_SECONDS = 600.0
"""Seconds after which a line is written even if little has changed."""

STEP = 0.1
"""Share of the jobs, or of the edits and measurements, after which a line is written."""

COST = 0.01
"""Largest share of the time that looking at the files may take."""


class Screen(logging.Filter):
    """Filter of Snakemake's messages: hides those of single jobs, and notes how many are done."""

    def __init__(self) -> None:
        super().__init__()
        self.done = self.total = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide which messages the screen shows, and note the counts of jobs that pass."""
        event = getattr(record, "event", None)
        if event == LogEvent.PROGRESS:
            self.done, self.total = getattr(record, "done", 0), getattr(record, "total", 0)
        return event not in HIDDEN and record.getMessage() != CHOOSING


def show_progress(logger: logging.Logger, plan: Plan, folder: Path, jobs: int) -> Screen | None:
    """Write lines of progress to stderr in place of Snakemake's lines on single jobs, until this process ends.

    Nothing changes where the user asked for more or less than usual: with `--verbose`, `--printshellcmds` or `--quiet`,
    or with another way of logging than Snakemake's own.

    Args:
        logger: Snakemake's.
        folder: where the study's results stand, in `results/`.
        jobs: that run at once.
    """
    usual = [handler for handler in logger.handlers if handler.name == "DefaultStreamHandler"]
    asked = [filter_ for handler in usual for filter_ in handler.filters if hasattr(filter_, "printshellcmds")]
    if not asked or any(_is_special(filter_) for filter_ in asked):
        return None
    screen = Screen()
    for handler in usual:
        handler.addFilter(screen)
    threading.Thread(target=_watch, args=(screen, plan, folder, jobs), daemon=True).start()
    return screen


def _is_special(asked: Any) -> bool:
    return bool(asked.verbose or asked.printshellcmds or asked.debug_dag or asked.quiet)


def _watch(screen: Screen, plan: Plan, folder: Path, jobs: int) -> None:
    # pyarrow: kept out of planning
    from normgrowth.workflow.study_progress import StudyProgress

    progress = StudyProgress(plan, folder, jobs)
    began = written = time.monotonic()
    share_written, pause = -STEP, SECONDS
    while True:
        time.sleep(pause)
        before = time.monotonic()
        try:
            _, line, share = progress.look()
        except OSError:  # a file went while it was read: the next look is as good
            continue
        now = time.monotonic()
        pause = max(SECONDS, (now - before) / COST)
        share += screen.done / screen.total if screen.total else 0.0
        if share - share_written >= STEP or now - written >= MOST_SECONDS:
            written, share_written = now, share
            count = f"{screen.done:,} of {screen.total:,} jobs; " if screen.total else ""
            print(f"{clock(now - began)}  {count}{line}", file=sys.stderr, flush=True)
