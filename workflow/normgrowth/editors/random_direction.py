"""Control arm: random low-rank steps of the sizes of another editor's steps."""

from typing import ClassVar

from normgrowth.editors.settings import ControlSettings


class Settings(ControlSettings):
    """The drift without the meaning: if the size of changes is the cause of collapse, this arm should collapse too."""

    follows: ClassVar[bool] = True


def build(settings: Settings):
    """The editor with these settings."""
    from normgrowth.editors.controls import RandomDirection

    return RandomDirection(settings)
