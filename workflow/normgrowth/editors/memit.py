"""MEMIT: a batch of facts spread over several layers by regularised least squares (arXiv 2210.07229).

With `remember`, keys of earlier edits are protected as well (MEMIT with history).
"""

from typing import TYPE_CHECKING

from normgrowth.editors.settings import LeastSquaresSettings, Remember

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor
    from normgrowth.editors.locate.method import Method, Writer


class Settings(LeastSquaresSettings):
    """Settings of MEMIT. By default batches of 10, clamp 0.75."""


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.locate.closed_forms import weighted_second_moment
    from normgrowth.editors.locate.method import ClosedFormWriter, LocateThenEdit, with_slack

    writer = ClosedFormWriter(weighted_second_moment(settings), with_slack(1.0))
    return LocateThenEdit(settings, method(writer, settings.remember))


def method(writer: "Writer", remember: Remember = "nothing") -> "Method":
    """MEMIT's search, keys and shares with the writer of a relative."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.locate.method import Method

    return Method(site="residual", contexts="grouped", writer=writer, remember=remember)
