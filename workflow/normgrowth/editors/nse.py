"""NSE: MEMIT with history on the neurons that a batch's keys use most, in several passes, with values from the unedited
model (arXiv 2410.04045)."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from normgrowth.editors import memit
from normgrowth.editors.settings import LeastSquaresSettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(LeastSquaresSettings):
    """Settings of NSE: MEMIT's with remembered keys, and those of neurons and passes."""

    remember: Literal["nothing", "after_edit"] = Field(
        "after_edit", description="Keys of earlier edits that are protected too"
    )
    neuron_share: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Share of the keys' summed absolute values that the edited neurons hold; 1 edits all neurons",
    )
    passes: int = Field(
        2, ge=1, description="Times that a batch is written, from the second on its facts not yet at their values"
    )
    written_below: float | None = Field(
        None,
        ge=0,
        description="A fact with a smaller residual counts as written; half of its offset's norm when left out",
    )
    given_up_above: float | None = Field(
        None,
        gt=0,
        description="A fact with a larger residual is not written; five times its offset's norm when left out",
    )


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.locate.closed_forms import weighted_second_moment
    from normgrowth.editors.locate.neurons import Bounds, NeuronLevel, NeuronWriter

    writer = NeuronWriter(weighted_second_moment(settings), settings.neuron_share)
    bounds = Bounds(settings.written_below, settings.given_up_above)
    return NeuronLevel(settings, memit.method(writer, settings.remember), settings.passes, bounds)
