"""Verdicts, and the one rule by which an effect decides.

A claim has a direction, a margin on either side of no effect, and a zone of effects that are too small to count. Where
the effect surely lies beyond the margin on the claimed side the claim is supported; beyond that of the other side, the
opposite holds. Where neither is sure and the effect surely lies within the zone, it is negligible; surely between zone
and margin, it is there in part; otherwise the claim is undecided. A sure direction comes first, so that more data
never take it away: where the zone is wider than the margins, an effect may be sure in its direction and still small,
which its size shows.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from normgrowth.analysis.effects import Effect
from normgrowth.analysis.intervals import CONFIDENCE, Interval, holm

UP, DOWN = "up", "down"
"""Directions of a claim."""

LEVEL = (1 - CONFIDENCE) / 2
"""One-sided level of every test, so that a test and a 95% interval say the same."""


class Status(StrEnum):
    """Outcome of a claim, in the order in which outcomes are counted."""

    SUPPORTED = "supported"
    PARTIAL = "partial"
    NEGLIGIBLE = "negligible"
    OPPOSITE = "opposite"
    UNDECIDED = "undecided"
    TOO_SHORT = "too short"
    COLLAPSED = "collapsed"
    NOT_MEASURED = "not measured"


DIRECT = frozenset({Status.SUPPORTED, Status.OPPOSITE, Status.NEGLIGIBLE, Status.PARTIAL})
"""Outcomes that decide about the effect."""


class Rule(NamedTuple):
    """Margins that an effect is compared with.

    `margin` is on the claimed side of no effect, `other` on the other side; without `other` the effect has one side
    only. `zone` holds the effects that are too small to count; by default all between the two margins. With a wider
    zone, runs too short for a small effect's direction can still show that it is small.
    """

    direction: str
    margin: float
    other: float | None = None
    zone: tuple[float, float] | None = None

    @property
    def negligible(self) -> tuple[float, float]:
        """Bounds of the effects that are too small to count."""
        if self.zone:
            return self.zone
        other = self.other if self.other is not None else -np.inf if self.direction == UP else np.inf
        return (min(self.margin, other), max(self.margin, other))

    @property
    def between(self) -> tuple[float, float] | None:
        """Bounds of the effects between zone and margin on the claimed side; None where nothing lies there."""
        low, high = self.negligible
        if self.direction == UP:
            return (high, self.margin) if high < self.margin else None
        return (self.margin, low) if self.margin < low else None

    @property
    def in_words(self) -> str:
        """The rule as two sentences about an effect's 95% interval."""
        beyond, short = ("above", "below") if self.direction == UP else ("below", "above")
        low, high = self.negligible
        said = [f"Supported when the 95% interval of the effect lies {beyond} {self.margin:.3g}"]
        if self.other is not None:
            said.append(f"opposite when it lies {short} {self.other:.3g}")
        if np.isinf(low) or np.isinf(high):
            said.append(f"negligible when it lies {short} that")
        else:
            neither = "neither holds and it" if self.zone and self.other is not None else "it"
            said.append(f"negligible when {neither} lies between {low:.3g} and {high:.3g}")
        if self.between:
            said.append("partial when it lies between {:.3g} and {:.3g}".format(*self.between))
        return f"{', '.join(said)}; undecided otherwise. An exact number is its own interval."


class Tests(NamedTuple):
    """Two-sided p-values of the tests: beyond the margin, beyond the other margin, negligible, between the two."""

    supported: float
    opposite: float
    negligible: float
    partial: float = 1.0

    @classmethod
    def of_tails(cls, supported: float, opposite: float, negligible: float, partial: float = 1.0) -> "Tests":
        """Two-sided p-values from one-sided ones."""
        return cls(*(min(1.0, 2 * tail) for tail in (supported, opposite, negligible, partial)))

    def joint(self, other: "Tests") -> "Tests":
        """Tests that a hypothesis holds for two effects: the larger p-value of each pair."""
        return Tests(
            max(self.supported, other.supported),
            max(self.opposite, other.opposite),
            max(self.negligible, other.negligible),
            max(self.partial, other.partial),
        )

    @property
    def direction(self) -> float:
        """The p-value of the nearer direction."""
        return min(self.supported, self.opposite)

    @property
    def status(self) -> Status:
        """The direction where one is sure, else what else is sure about the effect's size, else undecided."""
        if self.direction <= 2 * LEVEL:
            return Status.SUPPORTED if self.supported <= self.opposite else Status.OPPOSITE
        if min(self.negligible, self.partial) <= 2 * LEVEL:
            return Status.NEGLIGIBLE if self.negligible <= self.partial else Status.PARTIAL
        return Status.UNDECIDED

    @property
    def p(self) -> float:
        """The p-value of the test that decides, or comes nearest to it."""
        directed = self.status in (Status.SUPPORTED, Status.OPPOSITE)
        return self.direction if directed else min(self.direction, self.negligible, self.partial)

    def adjusted(self, direction: float, negligible: float, partial: float) -> "Tests":
        """The tests with other p-values of the nearer direction and of both tests of size."""
        if self.supported <= self.opposite:
            return Tests(direction, 1.0, negligible, partial)
        return Tests(1.0, direction, negligible, partial)


@dataclass(frozen=True)
class Measure:
    """One measured quantity: its name, the effect with its interval, and what its value would be without any effect."""

    name: str
    interval: Interval
    unit: str  # ratio, cosine, share, points, degrees, spreads, calls, rho or p
    no_effect: float


@dataclass(frozen=True)
class Verdict:
    """The outcome of one claim for one model and editor, at one place where the claim is judged at several.

    The effect and interval are those of the first measure, which decides; the others stand beside it. `tests` decided
    the status; they are None where nothing was tested, or where something else decided.
    """

    status: Status
    reading: str
    measures: tuple[Measure, ...] = field(default=())
    edits: int | None = None
    orders: int = 0
    where: str = ""
    tests: Tests | None = None

    @property
    def p(self) -> float | None:
        """The two-sided p-value of the test that decided or came nearest to it; None where nothing was tested."""
        return None if self.tests is None else self.tests.p

    @property
    def effect(self) -> Interval:
        """The deciding measure's interval."""
        return self.measures[0].interval if self.measures else Interval.bare()


def decide(effect: Effect, rule: Rule) -> tuple[Status, Tests | None]:
    """Outcome of a claim by its effect, and the deciding tests; None for an exact effect or one without interval.

    An effect without an interval comes from too few units: the run is too short.
    """
    if not effect.bounded:
        return Status.TOO_SHORT, None
    within = _within(effect, *rule.negligible)
    between = _within(effect, *rule.between) if rule.between else 1.0
    claimed, against = (effect.p_above, effect.p_below) if rule.direction == UP else (effect.p_below, effect.p_above)
    tests = Tests.of_tails(claimed(rule.margin), 1.0 if rule.other is None else against(rule.other), within, between)
    return tests.status, None if effect.error == 0 else tests


def _within(effect: Effect, low: float, high: float) -> float:
    """One-sided p-value that the true value lies outside two bounds, which may be infinite."""
    return max(effect.p_above(low) if np.isfinite(low) else 0.0, effect.p_below(high) if np.isfinite(high) else 0.0)


def corrected(verdicts: list[Verdict]) -> list[Verdict]:
    """Verdicts of one claim at one place, p-values adjusted for the number of runs (Holm).

    Tests of direction are one family, those of a negligible and of a partial effect two more: a direction that becomes
    unsure by the correction leaves the tests of size as they are.
    """
    tested = [verdict.tests for verdict in verdicts if verdict.tests is not None]
    directions = holm([tests.direction for tests in tested])
    negligible, partial = (holm([getattr(tests, name) for tests in tested]) for name in ("negligible", "partial"))
    adjusted = iter(zip(directions, negligible, partial, strict=True))
    found = []
    for verdict in verdicts:
        if verdict.tests is None:
            found.append(verdict)
            continue
        tests = verdict.tests.adjusted(*map(float, next(adjusted)))
        reading = verdict.reading
        if tests.status != verdict.status:
            reading += f" Among {len(tested)} runs that is not sure enough ({verdict.status} by itself)."
        found.append(replace(verdict, status=tests.status, reading=reading, tests=tests))
    return found


def counts(statuses: list[str]) -> dict[str, int]:
    """Number of verdicts by status, in the order of `Status`; statuses that do not occur are left out."""
    return {status.value: statuses.count(status) for status in Status if status in statuses}


def with_interval(interval: Interval, digits: int = 3, plus: str = "") -> str:
    """`1.43 (95% interval 1.39 to 1.47)`, the bare number where it is exact, or the number with a note."""
    shown = f"{interval.estimate:{plus}.{digits}g}"
    if not interval.bounded:
        return f"{shown} (no interval)"
    if interval.low == interval.high:
        return shown
    return f"{shown} (95% interval {interval.low:{plus}.{digits}g} to {interval.high:{plus}.{digits}g})"


def scope(orders: int) -> str:
    """Runs that an interval is about, in words: one run says nothing about other edit orders."""
    return "in this run" if orders == 1 else f"over {orders} edit orders"


def count(number: int, thing: str, plural: str | None = None) -> str:
    """`1 order`, `3 orders`, `1,000 edits`; `plural` where it is not formed by an s."""
    return f"{number:,} {thing if number == 1 else plural or thing + 's'}"
