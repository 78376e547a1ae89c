"""MEND: a hypernetwork that transforms an edit's rank-one gradients into an update (arXiv 2110.11309)."""

from pydantic import Field

from normgrowth.editors.settings import HypernetworkSettings


class Settings(HypernetworkSettings):
    """It edits MLP down-projections only, so that its norms compare with other editors'; published MEND edits the MLPs'
    other matrices too."""

    initial_rate: float = Field(
        1e-2, gt=0, description="Size of an update before training, which learns one for each layer (published: 1e-4)"
    )

    @classmethod
    def layers_by_depth(cls, n_layers: int) -> tuple[int, ...]:
        """The last three layers, as published."""
        return tuple(range(max(0, n_layers - 3), n_layers))


def build(settings: Settings):
    """The editor with these settings."""
    from normgrowth.editors.hypernetwork.networks import HypernetworkEditor

    return HypernetworkEditor(settings, network(settings))


def network(settings: Settings):
    """What tells MEND's network from others."""
    from normgrowth.editors.hypernetwork.networks import Mend

    return Mend(settings)
