"""Hyperparameters that editors share, by family; each editor's own file adds or overrides some.

Published values are for published models; they come from presets. A value left out (None) is chosen to fit the model:
layers by depth, steps and weights in units of the vectors or matrices that they act on.

Free of torch: planning a study reads settings.
"""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from normgrowth.checked import Checked
from normgrowth.editors.registry import declaration

Layers = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]

Remember = Literal["nothing", "before_edit", "after_edit"]
"""Keys of earlier edits that a closed form protects too: none, or those read before or after their own edit."""

SECOND_MOMENTS, NULL_SPACES = "second_moments", "null_spaces"
GRADIENT_MOMENTS, HYPERNETWORK, TRAJECTORY = "gradient_moments", "hypernetwork", "trajectory"
"""Names of resources that an editor may need before its first edit, beside contexts and second moments."""

FILLED_IN = frozenset({"kind", "settings", "layers", "batch"})
"""Settings of a wrapper that come from the editor it wraps."""


class EditorSettings(Checked):
    """Settings of every editor: the layers it changes and the number of facts it takes in one call."""

    libraries: ClassVar[tuple[str, ...]] = ()
    """Libraries whose versions the editor's results depend on, beside those that every computation uses."""

    keeps_adapter: ClassVar[bool] = False
    """True for an editor whose memory holds a part of the edited matrices, so that nothing else may change them."""

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
        """Names of resources to gather before the first edit, beside contexts: constants at the top of this file."""
        return frozenset()

    @property
    def working(self) -> "EditorSettings":
        """The settings that do the editing: these, or those of the editor that a wrapper makes edit."""
        return self

    @property
    def reserved_facts(self) -> int:
        """Facts kept out of all edit orders that the editor asks for before its first edit."""
        return 0

    @property
    def searches(self) -> int:
        """Searches or trainings that an edit of one fact takes, for the costs of a study."""
        return 1

    @property
    def squares(self) -> int:
        """Matrices in float64, as wide as the keys, that the memory holds of each layer, for the costs of a study."""
        return 0

    @classmethod
    def layers_by_depth(cls, n_layers: int) -> tuple[int, ...]:
        """Default layers for a model of `n_layers` blocks: here one, a quarter of the way up.

        Published choices for single-layer editors lie between 0.16 (Llama) and 0.35 (GPT2-XL) of the depth.
        """
        return (n_layers // 4,)

    @property
    def edited_layers(self) -> tuple[int, ...]:
        """The edited layers.

        Raises:
            ValueError: when they are not filled in yet (see `resolved`).
        """
        if self.layers is None:
            raise ValueError("the editor's layers are left out, and not chosen by depth yet: see `resolved`")
        return self.layers

    def resolved(self, n_layers: int) -> Self:
        """A copy with layers filled in for a model of `n_layers` blocks.

        Raises:
            ValueError: when a layer lies beyond the model.
        """
        layers = self.layers or self.layers_by_depth(n_layers)
        if layers[-1] >= n_layers:
            raise ValueError(f"layer {layers[-1]} does not exist: the model has layers 0 to {n_layers - 1}")
        return self.model_copy(update={"layers": layers})


class OneFact(EditorSettings):
    """Mixin for the settings of an editor whose update is for one fact."""

    @model_validator(mode="after")
    def _one_fact(self) -> Self:
        if self.batch > 1:
            raise ValueError(f"batch is {self.batch}: this editor takes one fact at a time, so batch must be 1")
        return self


class OneAtATime(OneFact):
    """Mixin for the settings of an editor whose update is for one fact in one layer."""

    @model_validator(mode="after")
    def _one_layer(self) -> Self:
        if self.layers is not None and len(self.layers) > 1:
            raise ValueError(f"layers {list(self.layers)}: this editor changes one layer")
        return self


class SearchSettings(EditorSettings):
    """Settings of the search for the value that makes the model say the new object.

    Defaults are those of the ROME code for GPT2-XL (arXiv 2202.05262, appendix E.5), except for the learning rate.
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
        description="Passes with the new object most probable under every context that end the search (ENCORE's early "
        "stopping); 0: no such stop",
    )


class SpreadSettings(SearchSettings):
    """Settings of editors that spread a batch of facts over several layers by least squares."""

    batch: int = Field(10, ge=1, description="Facts edited in one call of the editor")
    clamp: float = Field(0.75, gt=0, description="Largest ||offset|| in units of ||value||")

    @classmethod
    def layers_by_depth(cls, n_layers: int) -> tuple[int, ...]:
        """The five layers that end a quarter of the way up, fewer in a shallow model."""
        last = n_layers // 4
        return tuple(range(max(0, last - 4), last + 1))


class PreservingSettings(SpreadSettings):
    """Settings of least squares that protect the second moment of keys."""

    preservation_weight: float | None = Field(
        None,
        gt=0,
        description="lambda: weight of the second moment against the new facts; the keys' width when left out",
    )

    @property
    def needs(self) -> frozenset[str]:
        """The second moments that are protected."""
        return frozenset({SECOND_MOMENTS})


class LeastSquaresSettings(PreservingSettings):
    """Settings of least squares that may also restrain the update's norm and protect the keys of earlier edits."""

    norm_weight: float | None = Field(
        0.0, ge=0, description="lambda_n: weight of the update's squared norm (ENCORE's constraint)"
    )
    remember: Remember = Field("nothing", description="Keys of earlier edits that are protected too")


class AlignedSettings(LeastSquaresSettings):
    """Settings of least squares that make up later for what a restraint cut off their steps (arXiv 2605.26670)."""

    remember: Remember = Field(
        "before_edit", description="Keys of earlier edits that are protected too; always those read before their edit"
    )

    @model_validator(mode="after")
    def _remembers_the_keys_of_its_systems(self) -> Self:
        if self.remember != "before_edit":
            raise ValueError(
                f"remember is {self.remember!r}: what was cut off is carried over in terms of the keys that each step "
                "was computed with, so remember must be 'before_edit'"
            )
        return self


class NullSpaceSettings(SpreadSettings):
    """Settings of least squares confined to the null space of the second moment (AlphaEdit, arXiv 2410.02355)."""

    null_space_threshold: float | None = Field(
        None,
        gt=0,
        description="Directions with a smaller eigenvalue of the second moment may change; the mean eigenvalue when "
        "left out",
    )
    norm_weight: float | None = Field(
        None, gt=0, description="L2: weight of the update's squared norm; scales with the second moment when left out"
    )

    @property
    def needs(self) -> frozenset[str]:
        """The null space of the second moment at each layer."""
        return frozenset({NULL_SPACES})


class EpochwiseSettings(EditorSettings):
    """Settings of fine-tuning in epochs of minibatches."""

    batch: int = Field(10, ge=1, description="Facts edited in one call of the editor")
    epochs: int = Field(25, ge=1, description="Most epochs of one call")
    minibatch: int = Field(32, ge=1, description="Facts of one Adam step")
    learning_rate: float | None = Field(
        None, gt=0, description="Adam step; 0.05 root mean square weights of each unedited matrix when left out"
    )
    stop_loss: float = Field(
        1e-2,
        ge=0,
        description="Training ends when an epoch's mean loss is below this; a minibatch below it takes no step",
    )

    @property
    def steps(self) -> int:
        """Gradient steps of an edit, as costs count them: those of epochs of one minibatch."""
        return self.epochs


class HypernetworkSettings(EditorSettings):
    """Settings of a hypernetwork that turns an edit's gradient into an update, trained once on the unedited model.

    Defaults are for small models. Published training of MEND: rank 1920, Adam 1e-6, up to a million steps of ten
    accumulated batches, patience 20,000 steps; of MALMEN: rank 1920, Adam 1e-5, one epoch of 512 to 1,024 joint edits.
    """

    rank: int = Field(96, ge=1, description="Rank of the network's two layers")
    initial_rate: float = Field(gt=0, description="Size of an update before training, which learns one for each layer")
    learning_rate: float = Field(1e-3, gt=0, description="Adam step of the network")
    rate_learning_rate: float = Field(0.03, gt=0, description="Adam step of the learned rates, in units of their start")
    training_steps: int = Field(600, ge=1, description="Most training steps")
    edits_per_step: int = Field(
        4, ge=1, description="Edits made in one training step, each of `batch` facts and alone on the unedited model"
    )
    edit_weight: float = Field(1.0, gt=0, description="Weight of the new object's loss after the edit")
    locality_weight: float = Field(1.0, ge=0, description="Weight of the divergence on prompts that should not change")
    validation_share: float = Field(0.15, gt=0, lt=1, description="Share of the reserved facts that only validate")
    validate_every: int = Field(50, ge=1, description="Training steps between validations, and between checkpoints")
    patience: int = Field(4, ge=1, description="Validations without a better loss after which training ends")

    @property
    def needs(self) -> frozenset[str]:
        """A network trained for the model, with these settings."""
        return frozenset({HYPERNETWORK})


class WrapperSettings(EditorSettings):
    """Settings of a wrapper, which stands around another editor: a remedy or a control arm.

    Its layers and batch are those of the wrapped editor.
    """

    editor: str | None = Field(
        None, description="Editor of the study that it stands around; by default what follows `-` in its own name"
    )
    kind: str | None = Field(None, description="Kind of that editor; filled in by the workflow")
    settings: dict[str, Any] | None = Field(None, description="Its settings; filled in by the workflow")

    @property
    def wrapped_kind(self) -> str:
        """Kind of the wrapped editor.

        Raises:
            ValueError: when it is not filled in yet (see `around`).
        """
        if self.kind is None:
            raise ValueError("the wrapper names no kind of editor yet: see `around`")
        return self.kind

    @property
    def wrapped(self) -> EditorSettings:
        """The settings of the wrapped editor, which may be a wrapper too."""
        settings: EditorSettings = declaration(self.wrapped_kind).Settings(**(self.settings or {}))
        return settings

    @property
    def needs(self) -> frozenset[str]:
        """The needs of the wrapped editor."""
        return self.wrapped.needs

    @property
    def working(self) -> EditorSettings:
        """The settings of the innermost editor."""
        return self.wrapped.working

    @property
    def searches(self) -> int:
        """Those of the wrapped editor."""
        return self.wrapped.searches

    @property
    def squares(self) -> int:
        """Those of the wrapped editor."""
        return self.wrapped.squares

    def build_wrapped(self) -> Any:
        """The wrapped editor."""
        return declaration(self.wrapped_kind).build(self.wrapped)

    @property
    def working_kind(self) -> str:
        """Kind of the innermost editor."""
        wrapped = self.wrapped
        return wrapped.working_kind if isinstance(wrapped, WrapperSettings) else self.wrapped_kind

    def around(self, editor: str, kind: str, settings: EditorSettings) -> Self:
        """A copy filled in for a wrapped editor: its name, kind, settings, layers and batch.

        Raises:
            ValueError: when it cannot stand around an editor with these settings.
        """
        return self.model_copy(
            update={
                "editor": editor,
                "kind": kind,
                "settings": settings.model_dump(mode="json"),
                "layers": settings.layers,
                "batch": settings.batch,
            }
        )


class ControlSettings(WrapperSettings):
    """Settings of a control arm, which tells causes apart and is no editing method."""


class FollowerSettings(ControlSettings):
    """Settings of a control arm that takes its steps from a recorded run of the controlled editor."""

    @property
    def needs(self) -> frozenset[str]:
        """The recorded norms of that run."""
        return frozenset({TRAJECTORY})

    @property
    def working(self) -> EditorSettings:
        """These settings: the controlled editor does not edit."""
        return self

    @property
    def searches(self) -> int:
        """One, which a step that is only copied stands for."""
        return 1

    @property
    def squares(self) -> int:
        """None."""
        return 0


class RemedySettings(WrapperSettings):
    """Settings of a remedy, which changes how another editor writes and is an editing method itself."""

    @classmethod
    def refusal(cls, kind: str) -> str | None:
        """Reason why the remedy cannot stand around editors of a kind; None where it can."""
        if declaration(kind).Settings.keeps_adapter:
            return (
                f"{kind} keeps an adapter from call to call, which a changed step would make disagree with the matrix"
            )
        return None
