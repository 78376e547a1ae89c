"""Style of all figures: colours that colour-blind readers can tell apart, one look per editor everywhere.

An editor is identified by colour, marker and dash together, so that print without colour works. Dashes show families:
solid for locate-then-edit, dashed for fine-tuning, dotted for hypernetworks, dashes and dots for regression on
gradients. A remedy has the colour of the editor that it stands around and the marker of its kind; a control arm has
that colour too, and the marker and dash of its kind. The workflow reads the settings when it starts: no heavy imports
here.
"""

import hashlib
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from normgrowth.checked import Checked
from normgrowth.editors.families import (
    FINE_TUNING,
    HYPERNETWORK,
    LOCATE,
    REGRESSION,
    REMEDY,
    family_of,
    in_order,
    is_control,
    is_remedy,
    kind_of,
    with_wrapped,
    wrapped_editor,
)

if TYPE_CHECKING:  # planning a study reads the settings, and goes without matplotlib
    from matplotlib.typing import RcKeyType


class StyleSettings(Checked):
    """Sizes and resolution of every figure."""

    panel_width: float = Field(3.4, gt=1, le=12, description="Width of a panel, in inches")
    panel_height: float = Field(2.3, gt=0.8, le=12, description="Height of a panel, in inches")
    font_size: float = Field(8.5, ge=5, le=20, description="Size of text, in points")
    dpi: int = Field(200, ge=50, le=600, description="Resolution of PNG files, in dots per inch")


class Look(NamedTuple):
    """Colour, marker and dash of an editor."""

    colour: str
    marker: Any
    dash: Any
    """Marker and dash in any of matplotlib's forms."""


# Colours after Okabe and Ito (2008) and the "muted" scheme of Tol (2021).
LOOKS: dict[str, tuple[str, str]] = {
    "ft": ("#D55E00", "o"),
    "ft_l": ("#E69F00", "s"),
    "lora": ("#882255", "^"),
    "locft": ("#AA7755", "P"),
    "crispedit": ("#DDAA33", "p"),
    "mend": ("#CC79A7", "D"),
    "malmen": ("#AA4499", "v"),
    "ultraedit": ("#44AA99", "o"),
    "stableedit": ("#6699CC", "^"),
    "rome": ("#56B4E9", "P"),
    "r_rome": ("#0072B2", "s"),
    "memit": ("#009E73", "^"),
    "emmet": ("#117733", "D"),
    "pmet": ("#999933", "v"),
    "alphaedit": ("#332288", "p"),
    "encore": ("#000000", "h"),
    "nas": ("#661100", "*"),
}
SPARE_COLOURS = ("#D81B60", "#B8860B", "#6A5ACD", "#00A5B5", "#8B5A2B")
SPARE_MARKERS = (">", "H", (5, 0, 180), (4, 1, 45), "X")
DASHES = {
    LOCATE: "-",
    FINE_TUNING: (0, (5, 1.5)),
    HYPERNETWORK: (0, (1, 1.2)),
    REGRESSION: (0, (5, 1.2, 1, 1.2, 1, 1.2)),
    REMEDY: (0, (7, 1.2, 1.5, 1.2)),
    None: (0, (4, 1.2, 1, 1.2)),
}
REMEDIES: dict[str, Any] = {"revive": (3, 1, 0), "sphere": (6, 1, 0), "simie": (5, 1, 180), "blue": (8, 1, 0)}
"""Marker of each kind of remedy, a star of so many points: it is no other editor's."""
ARMS: dict[str, tuple[Any, Any]] = {
    "norm_restored": ("d", (0, (8, 2))),
    "no_feedback": (7, (0, (2, 1))),
    "scale_only": ("8", (0, (6, 1.5, 1, 1.5))),
    "random_direction": ("<", (0, (3, 1.5, 1, 1.5, 1, 1.5))),
}
"""Marker and dash of each kind of control arm: neither is any editor's."""
UNEDITED_COLOUR = "#6E6E6E"
THIN_WIDTH = 0.8  # points, of the line of an editor that is there for comparison


class Style:
    """The style under given settings, for a figure that draws certain editors.

    Args:
        editors: all editors of the figure; no two of them get the same look.
    """

    def __init__(self, settings: StyleSettings | None = None, editors: Iterable[str] = ()) -> None:
        self.settings = settings or StyleSettings()
        self._spare: dict[str, tuple[str, Any]] = {}
        named = {name for editor in editors for name in with_wrapped(editor)}
        controlled = {wrapped_editor(editor) for editor in named if is_control(editor)}
        wrappers = {
            editor for editor in named if is_control(editor) or (is_remedy(editor) and editor not in controlled)
        }
        for editor in sorted(named - wrappers - LOOKS.keys()):
            self._spare[editor] = _spare(editor, set(self._spare.values()))

    def among(self, editors: Iterable[str]) -> "Style":
        """The same style for a figure that draws these editors."""
        return Style(self.settings, editors)

    def look(self, editor: str) -> Look:
        """The look of an editor: fixed by its name, unless another editor of the figure has that spare look."""
        wrapped = wrapped_editor(editor) or "unnamed"
        if is_control(editor):
            marker, dash = ARMS[kind_of(editor)]
            # The arm of a remedy has a spare colour: the remedy's own is that of the editor inside, which has arms too.
            colour = self._spare_look(wrapped)[0] if is_remedy(wrapped) else self.look(wrapped).colour
            return Look(colour, marker, dash)
        if is_remedy(editor):
            return Look(self.look(wrapped).colour, REMEDIES[kind_of(editor)], DASHES[REMEDY])
        dash = DASHES[family_of(editor)]
        # A variant, or an editor of the reader's own, has a spare look.
        colour, marker = LOOKS.get(editor) or self._spare_look(editor)
        return Look(colour, marker, dash)

    def _spare_look(self, editor: str) -> tuple[str, Any]:
        return self._spare.get(editor) or _spare(editor, set())

    @cached_property
    def rc(self) -> "dict[RcKeyType, Any]":
        """Settings of matplotlib, complete enough that the reader's own do not show."""
        size = self.settings.font_size
        return {
            "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same everywhere
            "font.size": size,
            "axes.titlesize": size + 0.5,
            "axes.titleweight": "bold",
            "axes.labelsize": size,
            "xtick.labelsize": size - 1,
            "ytick.labelsize": size - 1,
            "legend.fontsize": size - 0.5,
            "legend.frameon": False,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.linewidth": 0.7,
            "axes.edgecolor": "#444444",
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#E4E4E4",
            "grid.linewidth": 0.6,
            "lines.linewidth": 1.6,
            "lines.markersize": 4.5,
            "lines.markeredgewidth": 1.0,
            "text.hinting": "none",  # else the width of a text depends on the resolution, and what fitted is cut
            "savefig.dpi": self.settings.dpi,
            "savefig.facecolor": "white",
            "figure.facecolor": "white",
            "svg.hashsalt": "normgrowth",  # else ids in SVG files are random
            "svg.fonttype": "path",
            "pdf.fonttype": 42,
            "path.simplify_threshold": 0.2,
        }

    def order(self, editors: list[str]) -> list[str]:
        """Editors in the order of every legend: by family, variants behind what they vary, the reader's own last."""
        return in_order(editors)


def _spare(editor: str, taken: set[tuple[str, Any]]) -> tuple[str, Any]:
    """The spare look that a name picks, or the first free one after it: another colour before another marker."""
    picked = int.from_bytes(hashlib.sha256(editor.encode()).digest()[:4], "big")
    colours = {colour for colour, _ in taken} if len({colour for colour, _ in taken}) < len(SPARE_COLOURS) else set()
    looks = [
        (SPARE_COLOURS[(picked + i) % len(SPARE_COLOURS)], SPARE_MARKERS[(picked + i + j) % len(SPARE_MARKERS)])
        for j in range(len(SPARE_MARKERS))
        for i in range(len(SPARE_COLOURS))
    ]
    free = [look for look in looks if look not in taken]
    return next((look for look in free if look[0] not in colours), (free or looks)[0])
