"""ROME as published: the update's direction from the mean key, its length from the bare prompt's (arXiv 2202.05262)."""

from typing import TYPE_CHECKING

from pydantic import Field

from normgrowth.editors.settings import SECOND_MOMENTS, OneAtATime, SearchSettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(SearchSettings, OneAtATime):
    """Settings of ROME. By default 20 search passes, clamp 4."""

    use_second_moment: bool = Field(
        True, description="Protect the second moment of keys; false takes all directions alike (Llama presets)"
    )

    @property
    def needs(self) -> frozenset[str]:
        """The second moment of keys, where `use_second_moment` is on."""
        return frozenset({SECOND_MOMENTS} if self.use_second_moment else ())


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.locate.closed_forms import of_one_key, rome_update
    from normgrowth.editors.locate.method import ClosedFormWriter, LocateThenEdit, Method

    return LocateThenEdit(
        settings,
        Method(
            site="mlp_output",
            contexts="uniform",
            writer=ClosedFormWriter(
                of_one_key(settings.use_second_moment),
                lambda located, preserved: rome_update(located.keys, located.bare_keys, located.residual, preserved),
            ),
        ),
    )
