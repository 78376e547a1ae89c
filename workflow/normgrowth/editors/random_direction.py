"""Control arm: random low-rank steps of the sizes of another editor's steps."""

from typing import TYPE_CHECKING, ClassVar

from normgrowth.editors.settings import ControlSettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(ControlSettings):
    """The drift without the meaning: if the size of changes is the cause of collapse, this arm should collapse too."""

    follows: ClassVar[bool] = True


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.controls import RandomDirection

    return RandomDirection(settings)
