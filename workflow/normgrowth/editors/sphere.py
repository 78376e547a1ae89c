"""SPHERE: any editor, its steps damped along the directions that most rows of the matrix share (arXiv 2510.01172)."""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field

from normgrowth.editors.settings import NULL_SPACES, EditorSettings, RemedySettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor

ALPHA_IN_NULL_SPACE, ALPHA = 0.5, 0.8
"""Published alphas: around AlphaEdit, and around MEMIT, RECT and PRUNE."""


class Settings(RemedySettings):
    """Settings of SPHERE. Defaults are published; the published code of some editors takes the current matrix."""

    eta: float = Field(
        0.5, ge=0, le=1, description="Share of the rows' energy up to which directions count as shared, and one more"
    )
    alpha: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of a step's part along these directions that is taken off it; when left out 0.5 around "
        "editors confined to a null space (AlphaEdit), 0.8 around others",
    )
    reference: Literal["unedited", "current"] = Field(
        "unedited",
        description="Matrix whose rows decide: the unedited one, as in the paper, or that before each call, as in the "
        "published AlphaEdit branch (a singular value decomposition per call and layer)",
    )

    def around(self, editor: str, kind: str, settings: EditorSettings) -> Self:
        """See `WrapperSettings.around`; alpha is filled in too."""
        alpha = ALPHA_IN_NULL_SPACE if NULL_SPACES in settings.needs else ALPHA
        filled = super().around(editor, kind, settings)
        return filled if self.alpha is not None else filled.model_copy(update={"alpha": alpha})


def build(settings: Settings) -> "Editor":
    """The editor with these settings.

    Raises:
        ValueError: when alpha is not filled in yet (see `around`).
    """
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.remedies.damped_steps import DampedSteps
    from normgrowth.editors.remedies.subspaces import dominant_rows

    alpha = settings.alpha
    if alpha is None:
        raise ValueError("alpha is left out, and not chosen by the wrapped editor yet: see `around`")
    return DampedSteps(
        settings.build_wrapped(),
        lambda matrix: dominant_rows(matrix, settings.eta, alpha),
        of_current=settings.reference == "current",
    )
