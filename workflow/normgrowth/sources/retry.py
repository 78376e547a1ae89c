"""Trying again what may pass: servers that are busy, connections that break."""

import sys
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between attempts; after the last the failure stands."""

BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP answers that a later request may not get."""


class Passing(Exception):
    """A failure that may pass; `moved` says whether something was gained before it."""

    def __init__(self, message: str, moved: bool = False) -> None:
        super().__init__(message)
        self.moved = moved


def patiently(work: Callable[[], T]) -> T:
    """What `work` returns, tried again with growing pauses; whenever something was gained, they begin anew.

    Raises:
        Passing: of the last attempt.
    """
    pauses = iter(PAUSES)
    while True:
        try:
            return work()
        except Passing as failure:
            if failure.moved:
                pauses = iter(PAUSES)
            pause = next(pauses, None)
            if pause is None:
                raise
            print(f"{failure}; trying again in {pause:g} s", file=sys.stderr, flush=True)
            time.sleep(pause)
