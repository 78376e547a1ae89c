"""SimIE: any editor, each edit computed on the unedited model and brought together by least squares (ICML 2025)."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from normgrowth.editors.settings import RemedySettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(RemedySettings):
    """Settings of SimIE. The default of `ridge` is ours: published values, 10 and 10,000, are for models of theirs."""

    ridge: float | None = Field(
        None,
        gt=0,
        description="lambda: weight of staying at the unedited matrix; a hundredth of the mean squared length of the "
        "facts' keys when left out",
    )
    tokens: Literal["all", "subject_last"] = Field(
        "all",
        description="Tokens whose keys an edit counts by: all of prompt and new object, as in its code, or the "
        "subject's last alone",
    )

    @property
    def squares(self) -> int:
        """P, beside those of the wrapped editor."""
        return 1 + super().squares


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.remedies.ideal_editor import IdealEditor

    return IdealEditor(settings.build_wrapped(), settings.ridge, settings.tokens)
