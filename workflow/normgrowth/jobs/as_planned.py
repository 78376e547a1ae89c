"""Jobs that bring a model: what the study was planned with, before the model was there."""

from pydantic import Field

from normgrowth.errors import ModelError
from normgrowth.jobs.job import Job
from normgrowth.lm.context_length import from_words, too_long


class AsPlanned(Job):
    """What a study expects of a model."""

    layers: int | None = Field(None, description="transformer blocks that it must have")
    to_read: tuple[str, ...] = Field((), description="what the study has it read at once, as KEY=TOKENS")

    def require_as_planned(self, layers: int | None, context: int | None, what: str) -> None:
        """Refuse a model that the study was not planned for.

        Args:
            layers: number of its blocks.
            context: most tokens that it reads at once; None where that is not known.
            what: its name in messages.

        Raises:
            ModelError: naming the key of the study.
        """
        if self.layers is not None and layers != self.layers:
            raise ModelError(
                f"{what} has {layers} layers, but the study took it for a model of {self.layers}: correct "
                "layers or published_as of its source"
            )
        if faults := too_long(from_words(self.to_read), context, what):
            raise ModelError("; ".join(faults))
