"""Settings of control arms, which stand for those of the editor that they control."""

from typing import Any, ClassVar, Self

from pydantic import Field

from normgrowth.editors.settings import TRAJECTORY, EditorSettings

FILLED_IN = frozenset({"kind", "settings", "layers", "batch"})
"""Settings of a control arm that come from the editor it controls."""


class ControlSettings(EditorSettings):
    """Layers and batch are those of the controlled editor."""

    follows: ClassVar[bool] = False
    """Whether the arm takes its steps from a recorded run of the controlled editor."""

    editor: str | None = Field(
        None, description="Editor of the study that is controlled; by default what follows `-` in the arm's own name"
    )
    kind: str | None = Field(None, description="Kind of that editor; filled in by the workflow")
    settings: dict[str, Any] | None = Field(None, description="Its settings; filled in by the workflow")

    @property
    def needs(self) -> frozenset[str]:
        """The recorded norms of the run, for an arm that follows one."""
        return frozenset({TRAJECTORY} if self.follows else ())

    def around(self, editor: str, kind: str, settings: EditorSettings) -> Self:
        """These settings for a controlled editor with its own."""
        return self.model_copy(
            update={
                "editor": editor,
                "kind": kind,
                "settings": settings.model_dump(mode="json"),
                "layers": settings.layers,
                "batch": settings.batch,
            }
        )
