"""The figures by name. A new one is one file in this folder and one entry here.

This module is imported whenever the workflow is parsed: no heavy imports here.
"""

from collections.abc import Iterable
from typing import NamedTuple

from normgrowth.families import is_control


class FigureEntry(NamedTuple):
    """What a figure is drawn from, and what stands under it."""

    tables: tuple[str, ...]
    title: str
    caption: str
    of_arms: bool = False  # drawn only where a study has control arms


_INTERVALS = "Bars are 95% intervals; a cross ends a line where the model collapsed (values no longer finite)."
_BANDS = (
    "With several edit orders lines are means over them, and bands are 95% t intervals of the mean "
    "(two orders: their range)."
)
_SPLIT = (
    "With more than eight editors each family has a panel of its own, and panels of a row share their scale; among the "
    "control arms, thin lines are the editors they control."
)
_RATIO = (
    "The mean over probes of ||a|| / ||a0||, each activation a against a0, the same one in the unedited model. "
    "Text probes are a few positions of each window of running text; fact probes are prompts at the named token."
)

FIGURES: dict[str, FigureEntry] = {
    "norm_against_edits": FigureEntry(
        ("norms",),
        "Norm of the edited matrices against edits",
        "Frobenius norm of the edited MLP down-projections after every edit, relative to the unedited matrix. "
        "Heavy lines are geometric means over an editor's edited matrices, thin lines single matrices. "
        f"The scale is logarithmic where values span more than a factor of five. {_BANDS} "
        f"A cross ends a line where the norm is no longer finite. {_SPLIT}",
    ),
    "norm_by_layer": FigureEntry(
        ("norms",),
        "Norm of matrices by layer",
        "Frobenius norm of each layer's MLP down-projection (circles) and attention output projection "
        "(grey triangles), relative to the unedited matrix, halfway through the run and at its end; mean over edit "
        "orders. Shaded layers are edited; all other matrices are controls, which no edit touches.",
    ),
    "activation_norm_by_layer": FigureEntry(
        ("activations", "norms"),
        "Activation norm by layer",
        f"Norm of activations on running text at the end of the run, by layer. {_RATIO} "
        f"Filled markers are edited layers. {_INTERVALS} With more than eight editors each is a row of colours, "
        "without intervals; marked cells are edited layers.",
    ),
    "activation_norm_against_edits": FigureEntry(
        ("activations", "norms"),
        "Activation norm against edits",
        f"Norm of activations at each checkpoint, at four places. {_RATIO} {_INTERVALS} {_SPLIT}",
    ),
    "orientation_against_edits": FigureEntry(
        ("activations", "norms"),
        "Orientation of activations against edits",
        "Cosine of each activation and the same one in the unedited model (1: unturned, 0: orthogonal), averaged "
        f"over probes, at each checkpoint and four places. {_INTERVALS} {_SPLIT}",
    ),
    "scores_against_edits": FigureEntry(
        ("scores",),
        "Editing scores against edits",
        "Efficacy (ES), paraphrase (PS) and neighbourhood (NS) scores and their harmonic mean (S). Lines: facts "
        "edited so far, scored at each checkpoint. Hollow markers: the facts edited since the checkpoint before, "
        "each scored just after its own edit. Grey, at 0 edits: the unedited model. "
        f"Bars are 95% bootstrap intervals over facts. {_SPLIT}",
    ),
    "perplexity_against_edits": FigureEntry(
        ("downstream",),
        "Perplexity against edits",
        "Perplexity on held-out running text at each checkpoint; the dotted line is the unedited model. "
        f"{_BANDS} A cross ends a line where perplexity is no longer finite. {_SPLIT}",
    ),
    "control_arms": FigureEntry(
        ("scores", "downstream", "norms"),
        "Control arms beside the editors they control",
        "Norm restored: the editor's edits, each edited matrix scaled back to its unedited norm after every step. "
        "Scale only: the unedited weights scaled along the editor's norms, without edits. Random direction: random "
        "steps of the size of the editor's. First column: S just after the edit, over the last 20 edits, of the first "
        "edit order; the thin line is 60%. Second: S of the facts edited so far, at checkpoints. Third: perplexity on "
        f"held-out text. Fourth: norm of the edited matrices relative to the unedited ones, geometric mean. {_BANDS}",
        of_arms=True,
    ),
}


def figures_of(editors: Iterable[str]) -> list[str]:
    """The figures that a study of these editors draws, in the order of the report."""
    arms = any(map(is_control, editors))
    return [name for name, entry in FIGURES.items() if arms or not entry.of_arms]
