"""Say how far each run of a study has come: edits done, their rate, the time left."""

import argparse
import threading
import time
from pathlib import Path

from normgrowth.commands.common import add_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_study(parser)
    parser.add_argument("--watch", type=_seconds, metavar="SECONDS", help="say it again and again until all is done")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < threading.TIMEOUT_MAX:
        raise ValueError
    return seconds


def run(arguments: argparse.Namespace) -> None:
    """Read what the runs have left so far, and print a line for each."""
    from normgrowth.runs.status import StudyRuns, chains, line_of
    from normgrowth.study.plan import Plan
    from normgrowth.study.study_files import read_study

    plan = Plan(read_study(arguments.study, arguments.config))
    study = plan.study
    runs = StudyRuns(study.study, [*plan.chains], plan.segments, study.segment, study.edits)
    while True:
        found = chains(runs, Path.cwd())
        done = sum(status.done for status in found)
        total = sum(status.total for status in found)
        print("\n".join([*map(line_of, found), f"{study.study}: {done:,} of {total:,} edits"]), flush=True)
        if not arguments.watch or done == total:
            return
        time.sleep(arguments.watch)
        print()
