"""MEMIT: a batch of facts spread over several layers by regularised least squares (arXiv 2210.07229).

With `remember`, keys of earlier edits are protected as well (MEMIT with history).
"""

from normgrowth.editors.settings import LeastSquaresSettings


class Settings(LeastSquaresSettings):
    """Batches of 10, clamp 0.75."""


def build(settings: Settings):
    """The editor with these settings."""
    from normgrowth.editors.locate.method import LocateThenEdit, with_slack

    return LocateThenEdit(settings, method(settings, with_slack(1.0)))


def method(settings: LeastSquaresSettings, closed_form):
    """MEMIT's method with the closed form of a relative."""
    from normgrowth.editors.locate.closed_forms import weighed
    from normgrowth.editors.locate.method import Method

    return Method(
        site="residual",
        contexts="grouped",
        preserve=weighed(settings),
        closed_form=closed_form,
        remember=settings.remember,
    )
