"""Control arm: any editor, each edited matrix rescaled to its unedited Frobenius norm after every call."""

from normgrowth.editors.registry import declaration
from normgrowth.editors.settings import ControlSettings, EditorSettings


class Settings(ControlSettings):
    """The edits without the growth: if the norm is the cause of collapse, this arm should live longer."""

    @property
    def needs(self) -> frozenset[str]:
        """What the controlled editor needs."""
        return self.working.needs

    @property
    def working(self) -> EditorSettings:
        """The settings of the controlled editor."""
        return declaration(self.kind).Settings(**self.settings).working


def build(settings: Settings):
    """The editor with these settings."""
    from normgrowth.editors.controls import NormRestored

    return NormRestored(declaration(settings.kind).build(settings.working))
