"""BetaEdit: AlphaEdit with text weighed inside a null space that is found anew as edits go on (arXiv 2605.09285)."""

from typing import TYPE_CHECKING

from pydantic import Field

from normgrowth.editors import memit
from normgrowth.editors.settings import NULL_SPACES, SECOND_MOMENTS, NullSpaceSettings, OneFact

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(NullSpaceSettings, OneFact):
    """Settings of BetaEdit: AlphaEdit's for one fact at a time; `norm_weight` is lambda_2 of its paper."""

    batch: int = Field(1, ge=1, description="Facts edited in one call of the editor: one")
    preservation_weight: float | None = Field(
        None,
        gt=0,
        description="lambda_1: weight of the second moment within the null space; a quarter of the keys' width when "
        "left out",
    )
    refresh: int = Field(
        1000, ge=1, description="Edits after which the null space is found anew, with the keys of all edits so far"
    )
    largest_change: float | None = Field(
        None,
        gt=0,
        description="An edit whose change of a matrix has a larger norm ends the run with an error; off when left out, "
        "20 in published code",
    )

    @property
    def needs(self) -> frozenset[str]:
        """Second moments of keys, and their null spaces."""
        return frozenset({SECOND_MOMENTS, NULL_SPACES})


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.locate.method import LocateThenEdit
    from normgrowth.editors.locate.refreshed import RefreshingWriter

    writer = RefreshingWriter(
        settings.preservation_weight,
        settings.norm_weight,
        settings.null_space_threshold,
        settings.refresh,
        settings.largest_change,
    )
    return LocateThenEdit(settings, memit.method(writer, remember="before_edit"))
