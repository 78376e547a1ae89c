"""Control arm: any editor, each edited matrix rescaled to its unedited Frobenius norm after every call."""

from typing import TYPE_CHECKING

from normgrowth.editors.registry import declaration
from normgrowth.editors.settings import ControlSettings, EditorSettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(ControlSettings):
    """Settings of this arm: the edits without the growth. If growth causes collapse, it should collapse later."""

    @property
    def needs(self) -> frozenset[str]:
        """The needs of the controlled editor."""
        return self.working.needs

    @property
    def working(self) -> EditorSettings:
        """The settings of the controlled editor."""
        settings: EditorSettings = declaration(self.controlled_kind).Settings(**(self.settings or {}))
        return settings.working


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.controls import NormRestored

    return NormRestored(declaration(settings.controlled_kind).build(settings.working))
