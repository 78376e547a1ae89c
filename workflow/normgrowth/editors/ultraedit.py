"""UltraEdit: normalised gradients written by ridge regression, without search or training (arXiv 2505.14679).

It edits MLP down-projections only, so that its norms compare with other editors'; the published code edits gate and up
projections of gated MLPs, and down-projections of GPT-J and Mistral.
"""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from normgrowth.editors.settings import EditorSettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(EditorSettings):
    """Settings of UltraEdit. The published ones, 1e-6 and ridge 1 in batches of 100, are for models of 6 to 8 billion
    parameters and depend on the scale of their keys; without them both follow the model."""

    batch: int = Field(10, ge=1, description="Facts edited in one call of the editor")
    learning_rate: float | None = Field(
        None,
        gt=0,
        description="lr: shift of an output per unit of normalised gradient and squared normalised key; when left "
        "out, a typical token's shifts, all layers together, are 6 times the length of the unedited outputs",
    )
    ridge: float | None = Field(
        None, gt=0, description="Ridge of the regression; 0.1 mean squared lengths of unedited keys when left out"
    )
    shared_statistics: bool = Field(
        False, description="One mean and variance for all matrices of one shape, as in published code"
    )
    warm_up: int | None = Field(
        None,
        ge=0,
        description="Batches of reserved facts that statistics begin with; all reserved facts when left out, or, "
        "where none are reserved, up to 128 of the study's own facts, for statistics alone. 0: none, as published",
    )
    warm_up_as: Literal["statistics", "edits"] = Field(
        "statistics",
        description="What the warm-up leaves behind: statistics alone, or its edits too, as part of the run's first "
        "call (StableEdit's code writes them)",
    )

    @property
    def reserved_facts(self) -> int:
        """Facts of the warm-up, where it is given."""
        return (self.warm_up or 0) * self.batch

    @model_validator(mode="after")
    def _written_facts_are_asked_for(self) -> Self:
        if self.warm_up_as == "edits" and not self.warm_up:
            raise ValueError(
                f"warm_up is {self.warm_up}, and warm_up_as writes the warm-up's facts: say how many batches of "
                "reserved facts it takes, or set warm_up_as to statistics"
            )
        return self

    @classmethod
    def layers_by_depth(cls, n_layers: int) -> tuple[int, ...]:
        """The last third without the last layer: 18 to 26 of 28 layers, as published for GPT-J."""
        return tuple(range(2 * n_layers // 3, n_layers - 1)) or (n_layers - 1,)


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.regression.editing import GradientRegression

    return GradientRegression(settings, full_covariance=False)
