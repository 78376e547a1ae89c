"""Control arm: any editor, each edited matrix rescaled to its unedited Frobenius norm after every call."""

from typing import TYPE_CHECKING

from normgrowth.editors.settings import ControlSettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(ControlSettings):
    """Settings of this arm: the edits without the growth. If growth causes collapse, it should collapse later."""


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.controls import NormRestored

    return NormRestored(settings.build_wrapped())
