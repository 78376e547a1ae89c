"""Control arm: the unedited matrices scaled along the norms of another editor's run."""

from typing import TYPE_CHECKING

from normgrowth.editors.settings import FollowerSettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(FollowerSettings):
    """Settings of this arm: the growth without the edits. If growth causes collapse, it should collapse too."""


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.controls import ScaleOnly

    return ScaleOnly(settings)
