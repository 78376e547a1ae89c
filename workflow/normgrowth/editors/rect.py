"""RECT: MEMIT that changes only the weights that change most in relation to their size (arXiv 2401.04700).

Every step is MEMIT's, and the rest of it is lost. `rect_aligned` makes up for it later.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from normgrowth.editors import memit
from normgrowth.editors.settings import LeastSquaresSettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(LeastSquaresSettings):
    """Settings of RECT: MEMIT's, and the share of weights that change. By default without a memory of earlier keys."""

    keep: float = Field(
        0.4,
        gt=0,
        le=1,
        description="Share of a matrix's weights that change, those with the largest |change| / |weight|",
    )


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    return restrained(settings, aligned=False)


def restrained(settings: Settings, aligned: bool) -> "Editor":
    """MEMIT with restrained steps; aligned, later steps make up for what was cut off."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.locate.closed_forms import weighted_second_moment
    from normgrowth.editors.locate.method import LocateThenEdit
    from normgrowth.editors.locate.restraints import RestrainedLeastSquares, largest_relative_changes

    restraint = largest_relative_changes(settings.keep)
    writer = RestrainedLeastSquares(weighted_second_moment(settings), restraint, "current", aligned)
    return LocateThenEdit(settings, memit.method(writer, settings.remember))
