"""Snakemake's scheduler looks at the ready jobs once for many requests, and again for later ones."""

import threading
import time

from snakemake.scheduling.job_scheduler import JobScheduler

from normgrowth.workflow.reevaluation import one_at_a_time


def looks(scheduler) -> int:
    """How often the scheduler was told to look, until nothing more comes."""
    found = 0
    while scheduler._open_jobs.acquire(timeout=0.3):
        found += 1
    return found


def bare(scheduler_class):
    """A scheduler of which nothing but its semaphore exists."""
    scheduler = object.__new__(scheduler_class)
    scheduler._open_jobs = threading.Semaphore(0)
    return scheduler


def test_many_requests_are_one_look():
    class Patched(JobScheduler):
        pass

    one_at_a_time(Patched)
    for scheduler_class, expected in ((JobScheduler, 20), (Patched, 1)):
        scheduler = bare(scheduler_class)
        for _ in range(20):
            scheduler._schedule_reevalutation(0.05)
        assert looks(scheduler) == expected
    scheduler._schedule_reevalutation(0.01)
    assert looks(scheduler) == 1


def test_two_schedulers_do_not_wait_for_each_other():
    class Patched(JobScheduler):
        pass

    one_at_a_time(Patched)
    first, second = bare(Patched), bare(Patched)
    began = time.monotonic()
    first._schedule_reevalutation(5)
    second._schedule_reevalutation(0.05)
    assert second._open_jobs.acquire(timeout=1) and time.monotonic() - began < 1


def test_a_scheduler_without_such_timers_stays_as_it_is():
    class Other:
        pass

    one_at_a_time(Other)
    assert not hasattr(Other, "_schedule_reevalutation")
