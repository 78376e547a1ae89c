"""LyapLock: MEMIT with history that pulls the matrix back as its error on text outgrows a budget (arXiv 2505.15702)."""

from typing import TYPE_CHECKING

from pydantic import Field

from normgrowth.editors import memit
from normgrowth.editors.settings import PreservingSettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(PreservingSettings):
    """Settings of LyapLock. Published: batches of 100, preservation weight 1000, alpha 60."""

    alpha: float = Field(
        60.0, gt=0, description="Budget of the preservation error, in units of that after the first batch of a run"
    )


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.locate.closed_forms import second_moment_and_ridge
    from normgrowth.editors.locate.drift_plus_penalty import DriftPlusPenalty
    from normgrowth.editors.locate.method import LocateThenEdit

    writer = DriftPlusPenalty(second_moment_and_ridge(settings.preservation_weight), settings.alpha)
    return LocateThenEdit(settings, memit.method(writer, remember="before_edit"))
