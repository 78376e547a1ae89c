"""ENCORE: MEMIT with history that stops its search early and penalises the update's norm (arXiv 2502.01636)."""

from pydantic import Field

from normgrowth.editors import memit
from normgrowth.editors.settings import Remember


class Settings(memit.Settings):
    """MEMIT's, and those that make it ENCORE; each of these is a setting of its relatives too."""

    most_probable_stop: int = Field(
        3,
        ge=0,
        description="The search ends once the new object has been the most probable one under every context so often; "
        "0 never",
    )
    norm_weight: float | None = Field(
        None,
        ge=0,
        description="lambda_n: weight of the update's squared norm; in the model's own units when left out",
    )
    remember: Remember = Field("before_edit", description="Keys of earlier edits that are protected too")


build = memit.build
