"""PRUNE on every step: MEMIT with the large singular values of its steps compressed (arXiv 2405.16821).

The paper restrains the sum of all updates, once, at the end. Here each step is restrained when it is made, as in the
sequential code of OTE-SE (arXiv 2605.26670), and the rest of it is lost. `prune_aligned` makes up for it later.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from normgrowth.editors import memit
from normgrowth.editors.settings import LeastSquaresSettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(LeastSquaresSettings):
    """Settings of PRUNE: MEMIT's, and the threshold. By default without a memory of earlier keys."""

    threshold: Literal["current", "unedited"] = Field(
        "current",
        description="Matrix whose largest singular value those of a step may reach in full: the current one, as in "
        "sequential code, or the unedited one, as in the paper",
    )


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    return restrained(settings, aligned=False)


def restrained(settings: Settings, aligned: bool) -> "Editor":
    """MEMIT with restrained steps; aligned, later steps make up for what was cut off."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.locate.closed_forms import weighted_second_moment
    from normgrowth.editors.locate.method import LocateThenEdit
    from normgrowth.editors.locate.restraints import RestrainedLeastSquares, compressed_singular_values

    preserve = weighted_second_moment(settings)
    writer = RestrainedLeastSquares(preserve, compressed_singular_values, settings.threshold, aligned)
    return LocateThenEdit(settings, memit.method(writer, settings.remember))
