"""REVIVE: any editor, its steps kept out of the unedited matrix's dominant singular directions (arXiv 2601.11042)."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from normgrowth.editors.settings import RemedySettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(RemedySettings):
    """Settings of REVIVE. Defaults are ours: the paper sweeps tau from 0.05 to 0.5 and does not say which energy."""

    tau: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="Share of the unedited matrix's energy in the leading directions that no step may touch; 0: none",
    )
    energy: Literal["singular_values", "squares"] = Field(
        "singular_values", description="What tau is a share of: the sum of the singular values, or of their squares"
    )


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.remedies.damped_steps import DampedSteps
    from normgrowth.editors.remedies.subspaces import dominant_directions

    return DampedSteps(
        settings.build_wrapped(), lambda matrix: dominant_directions(matrix, settings.tau, settings.energy)
    )
