"""ENCORE: MEMIT with history that stops its search early and penalises the update's norm (arXiv 2502.01636)."""

from pydantic import Field

from normgrowth.editors import memit
from normgrowth.editors.settings import Remember


class Settings(memit.Settings):
    """Settings of ENCORE: MEMIT's, with early stopping, norm penalty and protected keys on by default."""

    most_probable_stop: int = Field(
        3,
        ge=0,
        description="Passes with the new object most probable under every context that end the search; 0: no such stop",
    )
    norm_weight: float | None = Field(
        None,
        ge=0,
        description="lambda_n: weight of the update's squared norm; scales with the second moment when left out",
    )
    remember: Remember = Field("before_edit", description="Keys of earlier edits that are protected too")


build = memit.build
