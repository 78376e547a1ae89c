"""NAS: AlphaEdit with every value written at the norm that values had on the unedited model (arXiv 2602.02543)."""

from typing import TYPE_CHECKING

from pydantic import Field

from normgrowth.editors import alphaedit

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(alphaedit.Settings):
    """Settings of NAS: AlphaEdit's, and those of the norm anchor."""

    pilot_facts: int = Field(
        1000, ge=1, description="Facts whose values are searched on the unedited model for the anchor"
    )
    reject_above: float = Field(
        2.0, gt=0, description="A fact whose value's norm exceeds this many anchors is not written"
    )


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.locate.anchor import NormAnchor
    from normgrowth.editors.locate.method import LocateThenEdit

    anchor = NormAnchor(settings.pilot_facts, settings.reject_above)
    return LocateThenEdit(settings, alphaedit.method(settings, anchor=anchor))
