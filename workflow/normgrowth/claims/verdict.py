"""What a verdict is, and the one rule by which an interval decides.

A claim states a direction and a margin: the smallest effect that counts. With the interval beyond the margin on the
claimed side the claim is supported, on the other side it is contradicted, across the margin it is undecided. So a claim
of growth is contradicted by growth that is surely too small to matter, not only by shrinking.
"""

from dataclasses import dataclass, field

import pandas as pd

from normgrowth.inference import Interval

SUPPORTED = "supported"
CONTRADICTED = "contradicted"
UNDECIDED = "undecided"
COLLAPSED = "collapsed"
NOT_MEASURED = "not measured"
MIXED = "mixed"

UP, DOWN = "up", "down"

ALL = "all editors"


@dataclass(frozen=True)
class Evidence:
    """The rows of one model and editor (ALL for all its editors), and the seed of every resampling on them."""

    model: str
    editor: str
    norms: pd.DataFrame
    activations: pd.DataFrame
    subspaces: pd.DataFrame
    scores: pd.DataFrame
    downstream: pd.DataFrame
    seed: int
    arms: "dict[str, Evidence]" = field(default_factory=dict)
    """The control arms of this editor, by kind."""


@dataclass(frozen=True)
class Measure:
    """One measured quantity: its name, the effect with its interval, and what its value would be without any effect."""

    name: str
    interval: Interval
    unit: str  # ratio, cosine, points
    no_effect: float


@dataclass(frozen=True)
class Verdict:
    """The outcome of one claim for one model and editor.

    The effect and interval are those of the first measure, which decides; the others stand beside it.
    """

    status: str
    reading: str
    measures: tuple[Measure, ...] = field(default=())
    edits: int | None = None
    orders: int = 0

    @property
    def effect(self) -> Interval:
        """The deciding measure's interval."""
        return self.measures[0].interval if self.measures else Interval.bare()


def decide(interval: Interval, margin: float, direction: str) -> str:
    """Supported, contradicted or undecided: on which side of `margin` the interval lies."""
    if not interval.bounded:
        return UNDECIDED
    beyond = interval.low > margin if direction == UP else interval.high < margin
    short = interval.high < margin if direction == UP else interval.low > margin
    return SUPPORTED if beyond else CONTRADICTED if short else UNDECIDED


def overall(statuses: list[str]) -> str:
    """One word for a claim: the status that all its verdicts share, or `mixed`."""
    distinct = set(statuses)
    if len(distinct) > 1:
        distinct.discard(NOT_MEASURED)
    if not distinct:
        return NOT_MEASURED
    return distinct.pop() if len(distinct) == 1 else MIXED


def last_common_step(frame: pd.DataFrame) -> int | None:
    """The last step after 0 that was measured in every order of `frame`; None where there is none."""
    steps = [set(chain.loc[chain["step"] > 0, "step"]) for _, chain in frame.groupby("order")]
    common = set.intersection(*steps) if steps else set()
    return int(max(common)) if common else None


def with_interval(interval: Interval, digits: int = 3, plus: str = "") -> str:
    """`1.43 (95% interval 1.39 to 1.47)`, or the bare number with a note."""
    shown = f"{interval.estimate:{plus}.{digits}g}"
    if not interval.bounded:
        return f"{shown} (no interval)"
    return f"{shown} (95% interval {interval.low:{plus}.{digits}g} to {interval.high:{plus}.{digits}g})"


def count(number: int, thing: str) -> str:
    """`1 order`, `3 orders`, `1,000 edits`."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")
