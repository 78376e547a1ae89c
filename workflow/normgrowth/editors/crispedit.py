"""CrispEdit: fine-tuning whose every step leaves the directions alone that text depends on (arXiv 2602.15823).

Text gives, for each down-projection, second moments of its inputs and of the loss's gradients at its outputs. Their
eigenvectors span the matrix's entries, and products of eigenvalues say how much the text's loss curves along each
(K-FAC). Steps are projected onto those that curve it least.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from normgrowth.editors.settings import GRADIENT_MOMENTS, SECOND_MOMENTS, EpochwiseSettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(EpochwiseSettings):
    """Settings of CrispEdit. Published for Llama-3: Adam 5e-4, 25 epochs in minibatches of 32, stop at a loss of 0.01,
    layers 19 to 23 of 32, calls of 100 facts, protected energy 0.99 or 0.8, 1,000 or 100 texts."""

    protected_energy: float = Field(
        0.8,
        ge=0,
        lt=1,
        description="gamma: share of the summed products of eigenvalues whose directions, the largest, may not change; "
        "0 is plain fine-tuning",
    )
    project: Literal["step", "gradient"] = Field(
        "step",
        description="What is projected: Adam's step, as the paper's projected descent asks, or the gradient before "
        "Adam, as its code has it, whose steps then leave the free directions",
    )
    fact_weight: float = Field(
        100.0,
        ge=0,
        description="Tokens of text that a finished fact counts as when its own moments are merged with the text's; "
        "0: earlier edits are not protected",
    )

    @property
    def needs(self) -> frozenset[str]:
        """Second moments of keys and of gradients."""
        return frozenset({SECOND_MOMENTS, GRADIENT_MOMENTS})

    @classmethod
    def layers_by_depth(cls, n_layers: int) -> tuple[int, ...]:
        """From three fifths to three quarters of the way up: 19 to 23 of 32, as published for Llama-3."""
        return tuple(range(3 * n_layers // 5, 3 * n_layers // 4)) or (3 * n_layers // 5,)


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.finetune.projected import ProjectedFineTuning

    return ProjectedFineTuning(settings)
