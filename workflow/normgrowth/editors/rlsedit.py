"""RLSEdit: recursive least squares that penalise the distance from the unedited matrix (arXiv 2601.15686).

With all earlier keys in its system, such a penalty is the same as one on each update. So this is ENCORE's closed form
without its early stop, and is built so. The published code has no such penalty, which leaves MEMIT with history.
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
    """The editor with these settings, by MEMIT with history and λ_n = ridge.

    Recursive least squares end, after t batches, at the W_t that minimises

        tr((W - W_0) A_0 (W - W_0)ᵀ) + Σ_{s≤t} ||W K_s - V_s||²    with A_0 = λ C + ridge I, V_s = W_{s-1} K_s + R_s.

    The gradient is zero at W_t, and at W_{t-1} without the last term. The difference of the two equations is

        (W_t - W_{t-1}) (A_0 + Σ_{s≤t} K_s K_sᵀ) = R_t K_tᵀ,

    MEMIT's step with earlier keys protected and λ_n = ridge (arXiv 2502.01636).
    """
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.locate.closed_forms import second_moment_and_ridge
    from normgrowth.editors.locate.method import ClosedFormWriter, LocateThenEdit, with_slack

    preserve = second_moment_and_ridge(settings.preservation_weight, settings.ridge_to_unedited)
    writer = ClosedFormWriter(preserve, with_slack(1.0))
    return LocateThenEdit(settings, memit.method(writer, remember="before_edit"))
