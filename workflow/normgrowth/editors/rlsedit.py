"""RLSEdit: recursive least squares that penalise the distance from the unedited matrix (arXiv 2601.15686).

Its target after t batches is the W that minimises tr((W - W_0) A_0 (W - W_0)ᵀ) + Σ_{s≤t} ||W K_s - V_s||², with
A_0 = λ C + ridge I and V_s = W_{s-1} K_s + R_s. Setting the gradient to zero at t and at t - 1, and subtracting, gives

    W_t - W_{t-1} = R_t K_tᵀ (A_0 + Σ_{s≤t} K_s K_sᵀ)⁻¹,

a step of MEMIT with history and norm_weight = ridge: with all earlier keys in the system, a penalty on each update is a
penalty on their sum. So RLSEdit is ENCORE's closed form without ENCORE's early stop, and is built so. The published
code has a ridge of 0, which leaves MEMIT with history.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from normgrowth.editors import memit
from normgrowth.editors.settings import PreservingSettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(PreservingSettings):
    """Settings of RLSEdit: MEMIT's with history, and the weight of the distance from the unedited matrix."""

    ridge_to_unedited: float | None = Field(
        None,
        ge=0,
        description="Weight of the squared distance from the unedited matrix; scales with the second moment when left "
        "out",
    )


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.locate.closed_forms import second_moment_and_ridge
    from normgrowth.editors.locate.method import ClosedFormWriter, LocateThenEdit, with_slack

    preserve = second_moment_and_ridge(settings.preservation_weight, settings.ridge_to_unedited)
    writer = ClosedFormWriter(preserve, with_slack(1.0))
    return LocateThenEdit(settings, memit.method(writer, remember="before_edit"))
