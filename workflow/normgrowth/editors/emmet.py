"""EMMET: a batch of facts in one layer by least change under equality constraints (arXiv 2403.14236)."""

from pydantic import Field

from normgrowth.editors import memit
from normgrowth.editors.settings import EditorSettings, LeastSquaresSettings


class Settings(LeastSquaresSettings):
    """Batches of 10 in one layer."""

    slack: float = Field(
        0.1, ge=0, description="Added to the diagonal of the small system of a batch of several facts; 0 is exact"
    )

    @classmethod
    def layers_by_depth(cls, n_layers: int) -> tuple[int, ...]:
        """One layer, a quarter of the way up."""
        return EditorSettings.layers_by_depth(n_layers)


def build(settings: Settings):
    """The editor with these settings."""
    from normgrowth.editors.locate import LocateThenEdit

    # With one fact the constraint can always be met, and the published code does.
    return LocateThenEdit(settings, memit.method(settings, settings.slack if settings.batch > 1 else 0.0))
