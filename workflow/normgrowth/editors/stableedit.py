"""StableEdit: UltraEdit with gradients whitened by their full covariance, and a warm-up (arXiv 2605.11836)."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from normgrowth.editors import ultraedit

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(ultraedit.Settings):
    """Settings of StableEdit: UltraEdit's with another default ridge (published: 10, and 1e-6 in batches of 100).

    It whitens once more tokens were seen than a layer has outputs, and is UltraEdit before: give it a warm-up.
    """

    relative_ridge: ClassVar[float] = 1.0

    ridge: float | None = Field(
        None, gt=0, description="Ridge of the regression; the mean squared length of unedited keys when left out"
    )


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.regression.editing import GradientRegression

    return GradientRegression(settings, full_covariance=True)
