"""EMMET: a batch of facts in one layer by least change under equality constraints (arXiv 2403.14236)."""

from typing import TYPE_CHECKING

from pydantic import Field

from normgrowth.editors import memit
from normgrowth.editors.settings import EditorSettings, LeastSquaresSettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Change, Editor
    from normgrowth.editors.locate.closed_forms import Preservation
    from normgrowth.editors.locate.method import Located


class Settings(LeastSquaresSettings):
    """Settings of EMMET. By default batches of 10, in one layer."""

    slack: float = Field(
        0.1, ge=0, description="Slack on the diagonal of the system that a batch of several facts solves; 0 is exact"
    )

    @classmethod
    def layers_by_depth(cls, n_layers: int) -> tuple[int, ...]:
        """One layer, a quarter of the way up."""
        return EditorSettings.layers_by_depth(n_layers)


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.locate.closed_forms import weighted_second_moment
    from normgrowth.editors.locate.method import ClosedFormWriter, LocateThenEdit, with_slack

    exact, relaxed = with_slack(0.0), with_slack(settings.slack)

    def closed_form(located: "Located", preserved: "Preservation") -> "Change":
        # The facts at hand count, not the setting `batch`: single edits and a run's last batch may hold one. A single
        # fact's constraint can always be met, and the published code meets it.
        return (relaxed if located.keys.shape[1] > 1 else exact)(located, preserved)

    writer = ClosedFormWriter(weighted_second_moment(settings), closed_form)
    return LocateThenEdit(settings, memit.method(writer, settings.remember))
