"""Control arm: the unedited matrices scaled along the norms of another editor's run."""

from typing import ClassVar

from normgrowth.editors.settings import ControlSettings


class Settings(ControlSettings):
    """The growth without the edits: if the norm is the cause of collapse, this arm should collapse too."""

    follows: ClassVar[bool] = True


def build(settings: Settings):
    """The editor with these settings."""
    from normgrowth.editors.controls import ScaleOnly

    return ScaleOnly(settings)
