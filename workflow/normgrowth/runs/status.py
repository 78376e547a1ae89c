"""How far the runs of a study have come, read from what they have left so far."""

import re
from dataclasses import dataclass
from pathlib import Path

from normgrowth.io.tables import read_table_if_whole
from normgrowth.progress import clock
from normgrowth.study.plan import Plan

STATE_FILE = "state.safetensors"  # as in `state`, which is too heavy to import here
_PROGRESS = re.compile(r": (\d+)/(\d+)(?:, |$)")


@dataclass(frozen=True)
class ChainStatus:
    """One run: a model, an editor, an order."""

    model: str
    editor: str
    order: int
    done: int  # edits
    total: int
    begun: bool  # a segment is being edited, or was when its job ended
    per_second: float | None  # of finished segments, all their work counted; None before the first

    @property
    def seconds_left(self) -> float | None:
        """At the rate so far; None where nothing is known yet."""
        return (self.total - self.done) / self.per_second if self.per_second else None


def chains(plan: Plan, folder: Path) -> list[ChainStatus]:
    """Every run of a study, in the order of the workflow; `folder` holds `results/` and `logs/`."""
    return [_chain(plan, folder, *chain) for chain in plan.chains]


def line_of(status: ChainStatus) -> str:
    """One line that says how far a run has come."""
    name = f"{status.model} {status.editor} order {status.order}"
    parts = [f"{status.done:,}/{status.total:,} edits"]
    if status.done == status.total:
        return f"{name}: {parts[0]}, done"
    if status.per_second:
        parts += [f"{status.per_second:.3g}/s", f"{clock(status.seconds_left)} left"]
    return f"{name}: {', '.join(parts if status.begun or status.done else [*parts, 'waiting'])}"


def _chain(plan: Plan, folder: Path, model: str, editor: str, order: int) -> ChainStatus:
    study = plan.study
    place = Path(model, editor, f"order-{order}")
    chain = folder / "results" / study.study / "runs" / place
    finished = 0
    while finished < plan.segments and (chain / f"segment-{finished + 1}" / STATE_FILE).is_file():
        finished += 1
    within = _within(folder / "logs" / study.study / "edit" / place / f"segment-{finished + 1}.log")
    seconds = sum(_seconds(chain / f"segment-{number}" / "speed.parquet") for number in range(1, finished + 1))
    return ChainStatus(
        model,
        editor,
        order,
        finished * study.segment + (within or 0),
        study.edits,
        within is not None,
        finished * study.segment / seconds if seconds else None,
    )


def _within(log: Path) -> int | None:
    """Edits of a segment that its log tells of; None where there is no log."""
    try:
        counts = _PROGRESS.findall(log.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    return int(counts[-1][0]) if counts else 0


def _seconds(speed: Path) -> float:
    """Wall time of a finished segment; 0 where that is not known."""
    rows = read_table_if_whole(speed)
    return 0.0 if rows is None else float(rows.filter(like="_seconds").to_numpy().sum())
