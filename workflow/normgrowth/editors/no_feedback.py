"""Control arm: any editor, each edit computed on the unedited model and its change added to the edited one."""

from typing import TYPE_CHECKING

from normgrowth.editors.settings import ControlSettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(ControlSettings):
    """Settings of this arm: the edits without feedback. If edits of a changed model cause collapse, it comes later."""


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.controls import NoFeedback

    return NoFeedback(settings.build_wrapped())
