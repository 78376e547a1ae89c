"""Progress of a study's runs: the file that a job writes while it edits a segment, and the lines of `status`.

While a segment is edited, a small file beside its folder counts the edits done. A finished segment has its state
instead, and its wall times in table `speed`.
"""

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from normgrowth import layout
from normgrowth.errors import ArtefactError
from normgrowth.io.atomic import whole_or_not_at_all
from normgrowth.io.tables import read_table_if_whole
from normgrowth.progress import SECONDS_BETWEEN_LINES, clock

SPEED_TABLE = "speed.parquet"


@dataclass(frozen=True)
class StudyRuns:
    """The runs of a study, as its plan has them."""

    study: str
    chains: Sequence[tuple[str, str, int]]  # model, editor and order of each run
    segments: int  # of each run
    edits_per_segment: int
    edits: int  # of each run


@dataclass(frozen=True)
class ChainStatus:
    """Progress of one run: a model, an editor, an order."""

    model: str
    editor: str
    order: int
    done: int  # edits
    total: int
    begun: bool  # a segment is being edited, or was when its job ended
    per_second: float | None  # of finished segments, all their work counted; None before the first

    @property
    def seconds_left(self) -> float | None:
        """Seconds left at the rate so far; None where nothing is known yet."""
        return (self.total - self.done) / self.per_second if self.per_second else None


def chains(runs: StudyRuns, folder: Path) -> list[ChainStatus]:
    """Progress of every run of a study, in the order of the plan; `folder` holds `results/`."""
    return [_chain(runs, folder, *chain) for chain in runs.chains]


def line_of(status: ChainStatus) -> str:
    """One line on the progress of a run."""
    name = f"{status.model} {status.editor} order {status.order}"
    parts = [f"{status.done:,}/{status.total:,} edits"]
    if status.done == status.total:
        return f"{name}: {parts[0]}, done"
    if status.per_second and status.seconds_left is not None:
        parts += [f"{status.per_second:.3g}/s", f"{clock(status.seconds_left)} left"]
    return f"{name}: {', '.join(parts if status.begun or status.done else [*parts, 'waiting'])}"


def _chain(runs: StudyRuns, folder: Path, model: str, editor: str, order: int) -> ChainStatus:
    chain = folder / layout.RUN.format(study=runs.study, model=model, editor=editor, order=order)
    finished = 0
    while finished < runs.segments and (layout.segment_folder(chain, finished + 1) / layout.STATE_FILE).is_file():
        finished += 1
    within = edits_within(chain, finished + 1)
    seconds = sum(_seconds(layout.segment_folder(chain, number)) for number in range(1, finished + 1))
    return ChainStatus(
        model=model,
        editor=editor,
        order=order,
        done=finished * runs.edits_per_segment + (within or 0),
        total=runs.edits,
        begun=within is not None,
        per_second=finished * runs.edits_per_segment / seconds if seconds else None,
    )


def _seconds(segment: Path) -> float:
    """Wall time of a finished segment in seconds; 0 where it is not known."""
    rows = read_table_if_whole(segment / SPEED_TABLE)
    return 0.0 if rows is None else float(rows.filter(like="_seconds").to_numpy().sum())


class SegmentProgress:
    """The file that counts the edits of a segment while it is being edited.

    It is written every few seconds at most, never makes the job fail, and is gone once the job has ended. Where a job
    was killed it stays; the job that edits the segment again writes it anew.

    with SegmentProgress(chain, number) as progress:
        progress.update(1)
    """

    def __init__(self, chain: Path, number: int) -> None:
        self._file = _file(chain, number)
        self._done = 0
        self._write()

    def update(self, edits: int) -> None:
        """Count more edits as done."""
        self._done += edits
        if time.monotonic() - self._written >= SECONDS_BETWEEN_LINES:
            self._write()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._file.unlink(missing_ok=True)

    def _write(self) -> None:
        self._written = time.monotonic()
        with suppress(OSError, ArtefactError), whole_or_not_at_all(self._file) as partial:
            partial.write_text(json.dumps({"edits": self._done}))


def edits_within(chain: Path, number: int) -> int | None:
    """Edits done of a segment that is not finished; None where no job has begun it, 0 where its file is damaged."""
    try:
        edits = json.loads(_file(chain, number).read_bytes())["edits"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError):
        return 0
    return edits if isinstance(edits, int) else 0


def _file(chain: Path, number: int) -> Path:
    # Beside the segment's folder, which appears once the segment is finished; hidden, since it is no result.
    return chain / f".{layout.segment_folder(chain, number).name}-progress.json"
