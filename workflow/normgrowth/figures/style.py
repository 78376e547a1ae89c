"""The one style of all figures: colours that colour-blind readers can tell apart, one look per editor everywhere.

An editor is told by colour, marker and dash together, so that print without colour still works. Dashes tell families:
solid locates and edits, dashed fine-tunes, dotted is a hypernetwork. A variant of an editor has a shade of its colour,
and a control arm the colour of the editor that it controls.
"""

import hashlib
from functools import cached_property
from typing import Any, NamedTuple

from matplotlib.colors import to_hex, to_rgb

from normgrowth.families import FINE_TUNING, HYPERNETWORK, LOCATE, controlled_editor, family_of, kind_of, rank
from normgrowth.figures.settings import StyleSettings


class Look(NamedTuple):
    """How an editor is drawn."""

    colour: str
    marker: str
    dash: Any


# Colours after Okabe and Ito (2008) and the "muted" scheme of Tol (2021).
LOOKS: dict[str, tuple[str, str]] = {
    "ft": ("#D55E00", "o"),
    "ft_l": ("#E69F00", "s"),
    "lora": ("#882255", "^"),
    "mend": ("#CC79A7", "D"),
    "malmen": ("#AA4499", "v"),
    "rome": ("#56B4E9", "P"),
    "r_rome": ("#0072B2", "s"),
    "memit": ("#009E73", "^"),
    "emmet": ("#117733", "D"),
    "pmet": ("#999933", "v"),
    "alphaedit": ("#332288", "p"),
    "encore": ("#000000", "h"),
    "nas": ("#661100", "*"),
}
SPARE = (("#5D6D7E", "<"), ("#A0522D", ">"), ("#6A5ACD", "d"), ("#2F4F4F", "8"), ("#B8860B", "X"), ("#708238", "H"))
DASHES = {LOCATE: "-", FINE_TUNING: (0, (5, 1.5)), HYPERNETWORK: (0, (1, 1.2)), None: (0, (4, 1.2, 1, 1.2))}
STROKES = ("x", "+")
"""Markers that have no inside to leave white."""
SHADES = (0.45, -0.4, 0.25)
"""Shares of white or black in the colours of variants."""
ARMS: dict[str, tuple[str, Any]] = {
    "norm_restored": ("o", (0, (5, 1.2))),
    "scale_only": ("x", (0, (1, 1.2))),
    "random_direction": ("+", (0, (4, 1.2, 1, 1.2))),
}
"""Marker and dash of control arms."""
UNEDITED_COLOUR = "#6E6E6E"


class Style:
    """The style under given settings."""

    def __init__(self, settings: StyleSettings | None = None) -> None:
        self.settings = settings or StyleSettings()

    def look(self, editor: str) -> Look:
        """The look of an editor: fixed by its name alone, whatever else is drawn."""
        family, kind = family_of(editor), kind_of(editor)
        if editor in LOOKS:
            return Look(*LOOKS[editor], DASHES[family])
        if controlled := controlled_editor(editor):
            return Look(self.look(controlled).colour, *ARMS[kind])
        picked = int.from_bytes(hashlib.sha256(editor.encode()).digest()[:4], "big")
        colour, marker = SPARE[picked % len(SPARE)]
        if kind in LOOKS:  # a variant
            return Look(_shade(LOOKS[kind][0], SHADES[picked // len(SPARE) % len(SHADES)]), marker, DASHES[family])
        return Look(colour, marker, DASHES[family])  # an editor of the reader's own

    @cached_property
    def rc(self) -> dict[str, Any]:
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
            "savefig.dpi": self.settings.dpi,
            "savefig.facecolor": "white",
            "figure.facecolor": "white",
            "svg.hashsalt": "normgrowth",  # else ids in SVG files are random
            "svg.fonttype": "path",
            "pdf.fonttype": 42,
            "path.simplify_threshold": 0.2,
        }

    def order(self, editors: list[str]) -> list[str]:
        """Editors in the order of every legend: by family and kind, the reader's own last."""
        return sorted(editors, key=rank)


def _shade(colour: str, share: float) -> str:
    """A colour mixed with white (positive share) or black (negative)."""
    towards = 1.0 if share > 0 else 0.0
    return to_hex([channel + abs(share) * (towards - channel) for channel in to_rgb(colour)])
