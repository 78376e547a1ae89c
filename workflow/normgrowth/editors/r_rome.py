"""R-ROME: ROME with one key, the mean over contexts, in every place of the formula (arXiv 2403.07175)."""

from typing import TYPE_CHECKING

from normgrowth.editors import rome

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(rome.Settings):
    """Settings of R-ROME, the same as ROME's."""


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.locate.closed_forms import of_one_key
    from normgrowth.editors.locate.method import ClosedFormWriter, LocateThenEdit, Method, with_slack

    return LocateThenEdit(
        settings,
        Method(
            site="mlp_output",
            contexts="uniform",
            writer=ClosedFormWriter(of_one_key(settings.use_second_moment), with_slack(0.0)),
            current_value="mean_over_contexts",
        ),
    )
