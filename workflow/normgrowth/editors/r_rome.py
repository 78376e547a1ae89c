"""R-ROME: ROME with one key, the mean over contexts, in every place of the formula (arXiv 2403.07175)."""

from normgrowth.editors.settings import SearchSettings

NEEDS_STATISTICS = True


class Settings(SearchSettings):
    """The shared search defaults: 20 passes, step 0.5, clamp 4."""


def build(settings: Settings):
    """The editor with these settings."""
    from normgrowth.editors.locate import LocateThenEdit
    from normgrowth.editors.updates import equality_constrained

    return LocateThenEdit(
        settings,
        site="mlp_output",
        contexts="uniform",
        current_value="mean_over_contexts",
        closed_form=equality_constrained,
    )
