"""MOSE: a batch of facts written by rotating a layer's outputs, which keeps every singular value (arXiv 2601.07873)."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from normgrowth.editors import memit
from normgrowth.editors.settings import SECOND_MOMENTS, EditorSettings, SpreadSettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor

RELATIVE_WEIGHT = 0.3
"""Default lambda, in units of the outputs' width o: the paper's value was not found.

A plane of the output space holds about 2 / o of text's energy E ||W k||², so that to turn one fact's plane costs in
proportion to lambda / o. docs/editors.md says what was tried.
"""


class Settings(SpreadSettings):
    """Settings of MOSE. By default batches of 10, in one layer."""

    preservation_weight: float | None = Field(
        None,
        gt=0,
        description="lambda: weight of text against the new facts; 0.3 times the outputs' width when left out",
    )
    values: Literal["searched", "length_matched"] = Field(
        "searched",
        description="Values that keys are sent to: as searched, or scaled to the length of the keys' current outputs",
    )

    @classmethod
    def layers_by_depth(cls, n_layers: int) -> tuple[int, ...]:
        """One layer, a quarter of the way up."""
        return EditorSettings.layers_by_depth(n_layers)

    @property
    def needs(self) -> frozenset[str]:
        """The second moments of keys, which say what text uses."""
        return frozenset({SECOND_MOMENTS})


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    # Late, as everything that needs torch: planning a study reads this file for its settings.
    from normgrowth.editors.locate.method import LocateThenEdit
    from normgrowth.editors.locate.rotation import RotationWriter

    writer = RotationWriter(settings.preservation_weight, RELATIVE_WEIGHT, settings.values)
    return LocateThenEdit(settings, memit.method(writer))
