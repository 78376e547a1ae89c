"""Hyperparameters that editors share. Each editor's own file adds or overrides some."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Layers = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


class EditorSettings(BaseModel):
    """What every editor has: the layers it changes and the number of facts it takes in one call."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: Layers | None = Field(
        None, description="Layers whose MLP down-projection is edited, ascending; chosen by depth when left out"
    )
    batch: int = Field(1, ge=1, description="Facts edited in one call of the editor")

    @model_validator(mode="after")
    def _layers_ascend(self) -> Self:
        if self.layers is not None and list(self.layers) != sorted(set(self.layers)):
            raise ValueError(f"layers {list(self.layers)} must ascend without repetition")
        return self

    @classmethod
    def layers_by_depth(cls, n_layers: int) -> tuple[int, ...]:
        """Layers for a model of `n_layers` blocks that nothing else names: a quarter of the way up.

        Published choices for single-layer editors lie between 0.16 (Llama) and 0.35 (GPT2-XL) of the depth.
        """
        return (n_layers // 4,)

    def resolved(self, n_layers: int) -> Self:
        """These settings with layers filled in for a model of `n_layers` blocks.

        Raises:
            ValueError: when a layer lies beyond the model.
        """
        layers = self.layers or self.layers_by_depth(n_layers)
        if layers[-1] >= n_layers:
            raise ValueError(f"layer {layers[-1]} does not exist: the model has layers 0 to {n_layers - 1}")
        return self.model_copy(update={"layers": layers})


class SearchSettings(EditorSettings):
    """Settings of the search for the value that makes the model say the new object.

    Defaults are those of the ROME code for GPT2-XL (arXiv 2202.05262, appendix E.5).
    """

    steps: int = Field(20, ge=1, description="Forward passes of the search; one gradient step fewer is taken")
    learning_rate: float = Field(0.5, gt=0, description="Adam step of the offset")
    weight_decay: float = Field(0.5, ge=0, description="Weight of ||offset|| / ||value||^2 in the loss")
    kl_factor: float = Field(0.0625, ge=0, description="Weight of the divergence on the prompt '<subject> is a'")
    clamp: float = Field(4.0, gt=0, description="Largest ||offset|| in units of ||value||")
    stop_loss: float = Field(0.05, ge=0, description="The search ends when its loss falls below this")
