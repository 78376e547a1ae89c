"""Control arm: random low-rank steps, each as large as the step of another editor's run."""

from typing import TYPE_CHECKING

from normgrowth.editors.settings import FollowerSettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(FollowerSettings):
    """Settings of this arm: steps of equal size without meaning. If size causes collapse, it should collapse too."""


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.controls import RandomDirection

    return RandomDirection(settings)
