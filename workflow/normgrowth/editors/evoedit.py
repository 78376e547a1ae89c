"""EvoEdit: AlphaEdit in a null space that every batch's keys are taken out of (arXiv 2510.13851)."""

from typing import TYPE_CHECKING

from pydantic import Field

from normgrowth.editors import memit
from normgrowth.editors.settings import NullSpaceSettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(NullSpaceSettings):
    """Settings of EvoEdit: AlphaEdit's, with a null space that shrinks in place of remembered keys."""

    used_share: float = Field(
        0.01,
        gt=0,
        lt=1,
        description="Part of a key that must be left in the null space, in units of the key's norm, for its direction "
        "to be closed to later edits; a smaller rest counts as closed already",
    )


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.locate.evolving import EvolvingWriter
    from normgrowth.editors.locate.method import LocateThenEdit

    return LocateThenEdit(settings, memit.method(EvolvingWriter(settings.norm_weight, settings.used_share)))
