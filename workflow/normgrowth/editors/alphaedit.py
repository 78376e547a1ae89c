"""AlphaEdit: updates confined to directions that text leaves almost unused (arXiv 2410.02355)."""

from typing import TYPE_CHECKING

from pydantic import Field

from normgrowth.editors.settings import NullSpaceSettings, Remember

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor
    from normgrowth.editors.locate.anchor import NormAnchor
    from normgrowth.editors.locate.method import Method


class Settings(NullSpaceSettings):
    """Settings of AlphaEdit. By default batches of 10, clamp 0.75; threshold and norm weight scale with the model."""

    remember: Remember = Field("after_edit", description="Keys of earlier edits that are protected too")


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.locate.method import LocateThenEdit

    return LocateThenEdit(settings, method(settings))


def method(settings: Settings, anchor: "NormAnchor | None" = None) -> "Method":
    """AlphaEdit's method, with the anchor of a relative."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.locate.closed_forms import within_null_space
    from normgrowth.editors.locate.method import ClosedFormWriter, Method, with_slack

    return Method(
        site="residual",
        contexts="grouped",
        writer=ClosedFormWriter(within_null_space(settings.norm_weight), with_slack(1.0)),
        remember=settings.remember,
        anchor=anchor,
    )
