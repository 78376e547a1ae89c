"""PMET: offsets searched in attention and MLP together, of which only the MLP's is written (arXiv 2308.08742)."""

from typing import TYPE_CHECKING

from pydantic import Field

from normgrowth.editors.settings import LeastSquaresSettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(LeastSquaresSettings):
    """Settings of PMET. Defaults are those of its code for GPT-J: 30 search passes, divergence weighed 1."""

    steps: int = Field(30, ge=1, description="Forward passes of the search; one gradient step fewer is taken")
    kl_factor: float = Field(1.0, ge=0, description="Weight of the divergence on the prompt '<subject> is a'")
    relaxed_likelihood: float = Field(
        0.1,
        ge=0,
        description="Weight of the new object's loss in the pass after one that finds it the most probable under every "
        "context; 1 otherwise",
    )
    divergence_stop: float = Field(
        0.01,
        ge=0,
        description="The search ends when the new object is the most probable one under every context and kl_factor "
        "times the divergence is no more than this",
    )


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.locate.closed_forms import weighted_second_moment
    from normgrowth.editors.locate.method import ClosedFormWriter, LocateThenEdit, Method, with_slack
    from normgrowth.editors.locate.search import Relaxation

    return LocateThenEdit(
        settings,
        Method(
            site="mlp_output",
            contexts="grouped",
            writer=ClosedFormWriter(weighted_second_moment(settings), with_slack(1.0)),
            other_sites=("attention_output",),
            relaxation=Relaxation(settings.relaxed_likelihood, settings.divergence_stop),
            spread="square_root",
            remember=settings.remember,
        ),
    )
