"""MALMEN: a hypernetwork whose value shifts are written by least squares (arXiv 2311.04661)."""

from typing import TYPE_CHECKING

from pydantic import Field

from normgrowth.editors.settings import HypernetworkSettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor
    from normgrowth.editors.hypernetwork.networks import Network


class Settings(HypernetworkSettings):
    """Settings of MALMEN, which edits MLP down-projections, as published."""

    initial_rate: float = Field(
        1e-2, gt=0, description="Size of an update before training, which learns one for each layer (published: 1e-6)"
    )

    @classmethod
    def layers_by_depth(cls, n_layers: int) -> tuple[int, ...]:
        """The last six layers; in a shallow model, all but the first."""
        return tuple(range(max(1, n_layers - 6), n_layers))


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.hypernetwork.networks import HypernetworkEditor

    return HypernetworkEditor(settings, network(settings))


def network(settings: Settings) -> "Network":
    """The network of MALMEN, which the editor applies and training learns."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.hypernetwork.networks import Malmen

    return Malmen(settings)
