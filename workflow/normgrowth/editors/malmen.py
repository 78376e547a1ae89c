"""MALMEN: a hypernetwork whose value shifts are written by least squares (arXiv 2311.04661)."""

from pydantic import Field

from normgrowth.editors.settings import HypernetworkSettings


class Settings(HypernetworkSettings):
    """It edits MLP down-projections, as published."""

    initial_rate: float = Field(
        1e-2, gt=0, description="Size of an update before training, which learns one for each layer (published: 1e-6)"
    )

    @classmethod
    def layers_by_depth(cls, n_layers: int) -> tuple[int, ...]:
        """Up to the last six layers, but not all."""
        return tuple(range(max(1, n_layers - 6), n_layers))


def build(settings: Settings):
    """The editor with these settings."""
    from normgrowth.editors.hypernetwork.networks import HypernetworkEditor

    return HypernetworkEditor(settings, network(settings))


def network(settings: Settings):
    """What tells MALMEN's network from others."""
    from normgrowth.editors.hypernetwork.networks import Malmen

    return Malmen(settings)
