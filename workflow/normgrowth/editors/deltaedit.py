"""DeltaEdit: AlphaEdit that keeps a value out of what earlier edits wrote where they disturb it (arXiv 2505.07899)."""

from typing import TYPE_CHECKING

from pydantic import Field

from normgrowth.editors import alphaedit
from normgrowth.editors.settings import Remember

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(alphaedit.Settings):
    """Settings of DeltaEdit: AlphaEdit's, and those of the guard against what earlier edits wrote."""

    remember: Remember = Field("before_edit", description="Keys of earlier edits that are protected too")
    deviations: float = Field(
        3.0,
        ge=0,
        description="A fact is guarded when the norm of (W - W_0) k is more than this many standard deviations away "
        "from its running mean",
    )
    warm_up: int = Field(20, ge=0, description="Facts edited before the first that may be guarded")
    dominant_share: float = Field(
        0.25, gt=0, lt=1, description="Largest share of the output's directions that a guarded value is kept out of"
    )
    dominance_threshold: float | None = Field(
        None,
        gt=0,
        description="Least eigenvalue of (W - W_0)(W - W_0)^T in such a direction, 0.1 in published code; that of "
        "rounding when left out",
    )


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.locate.noise import Guard, NoiseGuarded

    guard = Guard(settings.deviations, settings.warm_up, settings.dominant_share, settings.dominance_threshold)
    return NoiseGuarded(settings, alphaedit.method(settings), guard)
