"""BLUE: a locate-then-edit editor at the first and the last of its layers alone, one by one (arXiv 2502.03748)."""

from typing import TYPE_CHECKING, Self

from normgrowth.editors.registry import declaration
from normgrowth.editors.settings import EditorSettings, RemedySettings, SpreadSettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(RemedySettings):
    """BLUE has no settings of its own: those of the wrapped editor hold at both layers."""

    @property
    def searches(self) -> int:
        """Twice those of the wrapped editor: each layer has a search of its own."""
        return 2 * super().searches

    @classmethod
    def refusal(cls, kind: str) -> str | None:
        """See `RemedySettings.refusal`."""
        if not issubclass(declaration(kind).Settings, SpreadSettings):
            return f"blue edits two of the layers that an editor spreads its edits over, and {kind} spreads none"
        return super().refusal(kind)

    def around(self, editor: str, kind: str, settings: EditorSettings) -> Self:
        """See `WrapperSettings.around`; the layers are the first and the last."""
        layers = settings.edited_layers
        if len(layers) < 2:
            raise ValueError(f"blue edits the first and the last of several layers, and these are {list(layers)}")
        return super().around(editor, kind, settings).model_copy(update={"layers": (layers[0], layers[-1])})


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.remedies.boundary_layers import BoundaryLayers

    def at(layer: int) -> "Editor":
        editor: Editor = declaration(settings.wrapped_kind).build(
            settings.wrapped.model_copy(update={"layers": (layer,)})
        )
        return editor

    lower, upper = settings.edited_layers
    return BoundaryLayers((at(lower), at(upper)))
