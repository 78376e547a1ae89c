"""Time and memory that jobs asked for and used, from the records beside their logs."""

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from normgrowth.report.cells import Cell, Table, known, measured, whole

SAFETY = 1.3
"""Safety factor on peak usage in proposed requests."""

WORKFLOW_MEMORY = 300
"""Megabytes of the workflow's own process inside a cluster's job, which the records do not count."""

RECORD = ".benchmark.jsonl"
_USED = r"used (\d+) MB of %s"


@dataclass(frozen=True)
class Job:
    """One job; numbers that were not recorded are NaN."""

    rule: str
    minutes: float
    megabytes: float
    gpu_megabytes: float
    asked_minutes: float
    asked_megabytes: float


def usage_table(logs: Path, study: str) -> Table:
    """A row per rule: how many jobs, what they asked for and used at most, and what to ask for the next time."""
    by_rule: dict[str, list[Job]] = {}
    for folder in (logs / "resources", logs / study):
        for job in jobs(folder):
            by_rule.setdefault(job.rule, []).append(job)
    rows = [_row(rule, found) for rule, found in sorted(by_rule.items())]
    return Table(
        "Time and memory of jobs",
        "The most that any job of a rule asked for and used, from its last run. Proposed, for "
        f"`workflow/normgrowth/study/requests.py` or `--set-resources`, is {SAFETY:g} times the most used; on a "
        "cluster it counts the workflow's own process in.",
        1,
        (
            "rule",
            "jobs",
            "minutes asked",
            "used",
            "proposed",
            "MB asked",
            "used",
            "proposed",
            "GPU MB used",
        ),
        {"": rows},
    )


def jobs(folder: Path) -> Iterator[Job]:
    """The jobs that left a record in a folder of logs; records that cannot be read are passed over."""
    for record in sorted(folder.rglob(f"*{RECORD}")):
        try:
            last = json.loads(record.read_text(encoding="utf-8").splitlines()[-1])
        except (OSError, ValueError, IndexError):
            continue
        asked = last.get("resources") or {}
        log = record.with_name(record.name.removesuffix(RECORD) + ".log")
        yield Job(
            last.get("rule_name") or record.relative_to(folder).parts[0].removesuffix(RECORD),
            _number(last.get("s")) / 60,
            _most([_number(last.get("max_rss")), _told(log, "memory")]),
            _told(log, "GPU memory"),
            _number(asked.get("runtime")),
            _number(asked.get("mem_mb")),
        )


def _row(rule: str, found: list[Job]) -> list[Cell]:
    most = {name: _most(getattr(job, name) for job in found) for name in Job.__annotations__ if name != "rule"}
    minutes, megabytes = most["minutes"], most["megabytes"]
    proposed_minutes = math.nan if math.isnan(minutes) else max(5, math.ceil(SAFETY * minutes))
    proposed = math.nan if math.isnan(megabytes) else 100 * math.ceil(SAFETY * (megabytes + WORKFLOW_MEMORY) / 100)
    return [
        Cell(rule),
        whole(len(found)),
        _whole(most["asked_minutes"]),
        measured(known(minutes)),
        _whole(proposed_minutes),
        _whole(most["asked_megabytes"]),
        _whole(megabytes),
        _whole(proposed),
        _whole(most["gpu_megabytes"]),
    ]


def _whole(value: float) -> Cell:
    return Cell("–") if math.isnan(value) else whole(round(value))


def _most(values: Iterable[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=math.nan)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _told(log: Path, memory: str) -> float:
    """Megabytes of a kind of memory that a command used, by its log."""
    try:
        found = re.findall(_USED % memory, log.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return math.nan
    return float(found[-1]) if found else math.nan
