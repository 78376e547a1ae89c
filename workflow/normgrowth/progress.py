"""Progress of a long command: a bar on a terminal, a line every few seconds in a log."""

import sys
import time
from typing import Self

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Counter of a command's steps up to `total`, shown as it grows.

    >>> with Progress(len(facts), "edits") as progress:
    ...     for fact in facts:
    ...         edit(fact)
    ...         progress.update(note=f"norm {norm:.2f}")
    """

    def __init__(self, total: int, label: str) -> None:
        self.total = total
        self.label = label
        self.done = 0
        self._note = ""

    def __enter__(self) -> Self:
        self._began = self._written = time.monotonic()
        self._written_at = -1
        on_terminal = sys.stderr.isatty()
        self._bar = tqdm(total=self.total, desc=self.label, leave=False, file=sys.stderr) if on_terminal else None
        if self._bar is None:
            self._write()  # so that a log shows the start, however long the first step takes
        return self

    def __exit__(self, *_: object) -> None:
        """Write the last state, however the work ended."""
        if self._bar is not None:
            self._bar.close()
        if self._bar is not None or self._written_at != self.done:
            self._write()

    def update(self, n: int = 1, note: str = "") -> None:
        """Count `n` more; `note` says how it goes."""
        self.done += n
        self._note = note
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(n)
        elif time.monotonic() - self._written >= SECONDS_BETWEEN_LINES:
            self._write()

    def _write(self) -> None:
        self._written, self._written_at = time.monotonic(), self.done
        spent = self._written - self._began
        rate = self.done / spent if spent > 0 and self.done else 0.0
        parts = [f"{self.label}: {self.done}/{self.total}"]
        if rate > 0:
            parts.append(f"{rate:.3g}/s")
            parts.append(f"{clock((self.total - self.done) / rate)} left" if self.done < self.total else clock(spent))
        print(", ".join([*parts, *([self._note] if self._note else [])]), file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Seconds as text: minutes:seconds, or hours:minutes:seconds."""
    whole_minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(whole_minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
