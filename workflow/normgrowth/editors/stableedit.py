"""StableEdit: UltraEdit with gradients whitened by their full covariance, and a warm-up (arXiv 2605.11836)."""

from typing import TYPE_CHECKING

from normgrowth.editors import ultraedit

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(ultraedit.Settings):
    """Settings of StableEdit, and their defaults, are UltraEdit's. Published: 1e-6 and ridge 10 in batches of 100.

    It whitens once more tokens were seen than a layer has outputs, and is UltraEdit before: give it a warm-up, by
    `reserved` in the study's source of facts (published: 2,000 facts and more).
    """


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.regression.editing import GradientRegression

    return GradientRegression(settings, full_covariance=True)
