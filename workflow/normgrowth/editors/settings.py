"""Hyperparameters that editors share. Each editor's own file adds or overrides some.

Published values are for published models; they come from presets. A value left out (None) is chosen to fit the model:
layers by depth, and whatever has a scale in units of what it acts on.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, Field, model_validator

from normgrowth.checked import Checked

Layers = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]

Remember = Literal["nothing", "before_edit", "after_edit"]
"""Which keys of earlier edits a closed form protects too: none, or those read before or after their own edit."""

SECOND_MOMENTS, NULL_SPACES = "second_moments", "null_spaces"
HYPERNETWORK, TRAJECTORY = "hypernetwork", "trajectory"


class EditorSettings(Checked):
    """What every editor has: the layers it changes and the number of facts it takes in one call."""

    libraries: ClassVar[tuple[str, ...]] = ()
    """Libraries whose version decides its results, beside those that every computation uses."""

    layers: Layers | None = Field(
        None, description="Layers whose MLP down-projection is edited, ascending; chosen by depth when left out"
    )
    batch: int = Field(1, ge=1, description="Facts edited in one call of the editor")

    @model_validator(mode="after")
    def _layers_ascend(self) -> Self:
        if self.layers is not None and list(self.layers) != sorted(set(self.layers)):
            raise ValueError(f"layers {list(self.layers)} must ascend without repetition")
        return self

    @property
    def needs(self) -> frozenset[str]:
        """What must be gathered before the first edit, beside contexts: names among those at the top of this file."""
        return frozenset()

    @property
    def working(self) -> "EditorSettings":
        """The settings that do the editing: these, or those of the editor that a control arm wraps."""
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


class OneAtATime(BaseModel):
    """Mixed into the settings of an editor whose update is for one fact."""

    @model_validator(mode="after")
    def _one_fact(self) -> Self:
        if self.batch > 1:
            raise ValueError(f"batch is {self.batch}: this editor takes one fact at a time, so batch must be 1")
        if self.layers is not None and len(self.layers) > 1:
            raise ValueError(f"layers {list(self.layers)}: this editor changes one layer")
        return self


class SearchSettings(EditorSettings):
    """Settings of the search for the value that makes the model say the new object.

    Defaults are those of the ROME code for GPT2-XL (arXiv 2202.05262, appendix E.5), its step aside.
    """

    steps: int = Field(20, ge=1, description="Forward passes of the search; one gradient step fewer is taken")
    learning_rate: float | None = Field(
        None,
        gt=0,
        description="Adam step of the offset; half the root mean square coordinate of unedited values when left out",
    )
    weight_decay: float = Field(0.5, ge=0, description="Weight of ||offset|| / ||value||^2 in the loss")
    kl_factor: float = Field(0.0625, ge=0, description="Weight of the divergence on the prompt '<subject> is a'")
    clamp: float = Field(4.0, gt=0, description="Largest ||offset|| in units of ||value||")
    stop_loss: float = Field(0.05, ge=0, description="The search ends when its loss falls below this")
    most_probable_stop: int = Field(
        0,
        ge=0,
        description="The search ends once the new object has been the most probable one under every context so often; "
        "0 never (ENCORE's early stopping)",
    )


class SpreadSettings(SearchSettings):
    """Settings of editors that spread a batch of facts over several layers by least squares."""

    batch: int = Field(10, ge=1, description="Facts edited in one call of the editor")
    clamp: float = Field(0.75, gt=0, description="Largest ||offset|| in units of ||value||")

    @classmethod
    def layers_by_depth(cls, n_layers: int) -> tuple[int, ...]:
        """Up to five layers that end a quarter of the way up."""
        last = n_layers // 4
        return tuple(range(max(0, last - 4), last + 1))


class LeastSquaresSettings(SpreadSettings):
    """Settings of least squares that protect the second moment of keys."""

    preservation_weight: float | None = Field(
        None,
        gt=0,
        description="lambda: weight of the second moment against the new facts; the keys' width when left out",
    )
    norm_weight: float | None = Field(
        0.0, ge=0, description="lambda_n: weight of the update's squared norm (ENCORE's constraint)"
    )
    remember: Remember = Field("nothing", description="Keys of earlier edits that are protected too")

    @property
    def needs(self) -> frozenset[str]:
        """The second moments that are protected."""
        return frozenset({SECOND_MOMENTS})
