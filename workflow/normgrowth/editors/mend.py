"""MEND: a hypernetwork that transforms an edit's rank-one gradients into an update (arXiv 2110.11309)."""

from typing import TYPE_CHECKING

from pydantic import Field

from normgrowth.editors.settings import HypernetworkSettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor
    from normgrowth.editors.hypernetwork.networks import Network


class Settings(HypernetworkSettings):
    """Settings of MEND. It edits MLP down-projections only, so that its norms compare with other editors';
    published MEND edits the other MLP matrices too."""

    initial_rate: float = Field(
        1e-2, gt=0, description="Size of an update before training, which learns one for each layer (published: 1e-4)"
    )

    @classmethod
    def layers_by_depth(cls, n_layers: int) -> tuple[int, ...]:
        """The last three layers, as published."""
        return tuple(range(max(0, n_layers - 3), n_layers))


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.hypernetwork.networks import HypernetworkEditor

    return HypernetworkEditor(settings, network(settings))


def network(settings: Settings) -> "Network":
    """The network of MEND, which the editor applies and training learns."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.hypernetwork.networks import Mend

    return Mend(settings)
