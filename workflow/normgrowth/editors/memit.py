"""MEMIT: a batch of facts spread over several layers by regularised least squares (arXiv 2210.07229)."""

from pydantic import Field

from normgrowth.editors.settings import SearchSettings

NEEDS_STATISTICS = True


class Settings(SearchSettings):
    """Defaults are those of the MEMIT code for GPT-J; layers by depth."""

    batch: int = Field(10, ge=1, description="Facts edited in one call of the editor")
    clamp: float = Field(0.75, gt=0, description="Largest ||offset|| in units of ||value||")
    preservation_weight: float = Field(
        15000.0, gt=0, description="lambda: weight of the second moment against the new facts"
    )

    @classmethod
    def layers_by_depth(cls, n_layers: int) -> tuple[int, ...]:
        """Up to five layers that end a quarter of the way up."""
        last = n_layers // 4
        return tuple(range(max(0, last - 4), last + 1))


def build(settings: Settings):
    """The editor with these settings."""
    from functools import partial

    from normgrowth.editors.locate import LocateThenEdit
    from normgrowth.editors.updates import regularised

    return LocateThenEdit(
        settings,
        site="residual",
        contexts="grouped",
        current_value="bare_prompt",
        closed_form=partial(regularised, preservation_weight=settings.preservation_weight),
    )
