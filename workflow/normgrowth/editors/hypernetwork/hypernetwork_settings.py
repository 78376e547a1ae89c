"""Settings that learned editors share: the network, and how it is trained. Torch-free."""

from pydantic import Field

from normgrowth.editors.settings import HYPERNETWORK, EditorSettings


class HypernetworkSettings(EditorSettings):
    """A network that turns an edit's gradient into an update, trained once on the unedited model.

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
