"""One pending re-evaluation of Snakemake's scheduler at a time.

After each look at the ready jobs Snakemake (seen in 9.27) starts a timer that makes it look again, so that its limit of
jobs per second is heeded. Each look starts another timer, and each finished job brings a look of its own: the looks add
up. After a hundred jobs the scheduler took half a processor, and with thousands it would do nothing else.
"""

import threading
from typing import Any

_pending: set[int] = set()
"""Schedulers, by identity, whose next look is on its way."""

_lock = threading.Lock()


def one_at_a_time(scheduler_class: Any) -> None:
    """Let a scheduler class start no timer while one of the same scheduler is pending; do nothing where it has none.

    Args:
        scheduler_class: Snakemake's `JobScheduler`.
    """
    if hasattr(scheduler_class, "_schedule_reevalutation"):  # as Snakemake spells it
        scheduler_class._schedule_reevalutation = _schedule


def _schedule(scheduler: Any, delay: float) -> None:
    with _lock:
        if id(scheduler) in _pending:
            return
        _pending.add(id(scheduler))
    timer = threading.Timer(delay, _look_again, [scheduler])
    timer.daemon = True  # a run that has ended waits for no further look
    timer.start()


def _look_again(scheduler: Any) -> None:
    with _lock:
        _pending.discard(id(scheduler))
    scheduler._open_jobs.release()
