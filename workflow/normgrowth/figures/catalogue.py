"""The figures by name. A new one is one file in this folder and one entry here.

This module is imported whenever the workflow is parsed: no heavy imports here.
"""

from collections.abc import Iterable
from typing import NamedTuple

from normgrowth.editors.families import is_control

SUBJECTS = {
    **dict.fromkeys(("norms", "spectra", "norm_direction", "interventions"), "Weights"),
    **dict.fromkeys(("activations", "subspaces", "coordinates", "cka"), "Activations"),
    **dict.fromkeys(("scores", "single_edits", "downstream"), "Knowledge and ability"),
}
"""Subjects of tables; a figure has the subject of its first table."""


class FigureEntry(NamedTuple):
    """One figure: the tables that it is drawn from, its title, and its caption."""

    tables: tuple[str, ...]
    title: str
    caption: str
    of_arms: bool = False  # drawn only where a study has control arms
    of_interventions: bool = False  # drawn only where a study has interventions
    of_altered_weights: bool = False  # drawn only where a study measures models with altered weights

    @property
    def subject(self) -> str:
        """Subject of the figure; figures of one subject stand together in the workflow's report."""
        return "Control arms" if self.of_arms else SUBJECTS[self.tables[0]]


_INTERVALS = "Bars are 95% intervals; a cross ends a line where the model collapsed (values no longer finite)."
_BANDS = (
    "With several edit orders lines are means over them, and bands are 95% t intervals of the mean "
    "(two orders: their range)."
)
_SPLIT = (
    "With more than eight editors each family has a panel of its own, and panels of a row share their scale; among "
    "remedies and control arms, thin lines are the editors they stand around."
)
_RATIO = (
    "The mean norm of activations over the mean norm of the same ones in the unedited model. "
    "Text probes are a few positions of each window of running text; fact probes are prompts at the named token."
)

FIGURES: dict[str, FigureEntry] = {
    "interventions": FigureEntry(
        ("interventions",),
        "Norm of every matrix while a whole model is trained on",
        "Frobenius norm of each updated weight matrix relative to its start, against optimizer steps: thin lines are "
        "single matrices, in the colour of their kind; the heavy line is the geometric mean of all. Several training "
        "runs are averaged. Of LoRA, the norm "
        "of the matrix with its adapter merged. Of two published checkpoints, step 1 is the later one.",
        of_interventions=True,
    ),
    "norm_against_edits": FigureEntry(
        ("norms",),
        "Norm of the edited matrices against edits",
        "Frobenius norm of the edited MLP down-projections after every edit, relative to the unedited matrix. "
        "Heavy lines are geometric means over an editor's edited matrices, thin lines single matrices. "
        f"The scale is logarithmic where values span more than a factor of five. {_BANDS} "
        f"A cross ends a line where the norm is no longer finite. {_SPLIT}",
    ),
    "damage_by_part": FigureEntry(
        ("norm_direction",),
        "Norm or direction: which of them breaks the model",
        "At the end of the run. Left: the change of perplexity in parts, as factors: by the edited matrices' norm "
        "(averaged over both directions), by their direction (averaged over both norms), and what only both together "
        "do; the product of the first two is the edits' whole factor. Bars are 95% intervals over windows of text and "
        "edit orders, whose number stands behind an editor's name: of a single order they speak of that run alone. "
        "Right: perplexity of the model with altered weights, over the unedited model's, geometric means over orders, "
        "of the editors with all arms, or else with the most orders. W₀ are the edited layers' matrices before the "
        "edits, Wₜ after them. Factors within the grey band (1.1) are too small to count.",
        of_altered_weights=True,
    ),
    "norm_by_layer": FigureEntry(
        ("norms",),
        "Norm of matrices by layer",
        "Frobenius norm of each layer's MLP down-projection (circles) and attention output projection "
        "(grey triangles), relative to the unedited matrix, halfway through the run and at its end; mean over edit "
        "orders. Shaded layers are edited; all other matrices are controls, which no edit touches.",
    ),
    "spectra_against_edits": FigureEntry(
        ("spectra", "norms"),
        "Spectral norm, stable rank and rotation of the edited matrices",
        "At each checkpoint, means over an editor's edited matrices. Spectral norm: largest singular value, relative "
        "to the unedited matrix. Stable rank: squared Frobenius over squared spectral norm. Turn: angle between the "
        "subspaces of the leading left (right) singular vectors of the edited and the unedited matrix, the root mean "
        f"square of their principal angles' cosines (90°: orthogonal). {_BANDS} {_SPLIT}",
    ),
    "singular_values": FigureEntry(
        ("spectra", "norms"),
        "Leading singular values of the edited matrices",
        "The largest singular values at the end of the run, geometric means over an editor's edited matrices and edit "
        f"orders; the dotted line is their mean in the unedited model. {_SPLIT}",
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
    "share_of_residual": FigureEntry(
        ("activations", "norms"),
        "Share of the residual stream's norm",
        "Norm of what each MLP and each attention block gives, before a norm of its own where it has one, over the "
        "norm of the residual stream behind it, on running text, averaged over probes: in the unedited model (first "
        "row) and at the end of each run. Marked cells are edited layers.",
    ),
    "orientation_against_edits": FigureEntry(
        ("activations", "norms"),
        "Orientation of activations against edits",
        "Cosine of each activation and the same one in the unedited model (1: unturned, 0: orthogonal), averaged "
        f"over probes, at each checkpoint and four places. {_INTERVALS} {_SPLIT}",
    ),
    "geometry_by_layer": FigureEntry(
        ("activations", "cka", "subspaces", "norms"),
        "Norm, alignment and subspace by layer",
        "The residual stream on running text, as the mean over each window, at the end of the run. Norm: relative to "
        "the same vector in the unedited model. CKA: debiased and linear, to the unedited model's same layer (1: "
        "alike but for rotation and scale; 0: unrelated); it does not see scale, so it stands beside the norm. "
        "Subspace: variance of held-out probes inside the unedited model's leading principal components, over the "
        "same of the unedited model. Marked cells are edited layers.",
    ),
    "cka_maps": FigureEntry(
        ("cka",),
        "CKA of every layer with every layer",
        "Debiased linear CKA of the residual stream (mean over each window of text) after each layer of the edited "
        "model, at the end of its run, with that after each layer of the unedited one. The first panel of a model "
        "compares the unedited model with itself. CKA does not see scale.",
    ),
    "pca_pictures": FigureEntry(
        ("coordinates",),
        "Activations before and after editing",
        "The residual stream after the last layer (mean over each window of text; one dot per window, a hundred at "
        "most) in the plane of the unedited model's first two principal components: unedited in grey, at checkpoints "
        "of the run in the editor's colour, pale at first. Panels of a model share their axes, which reach one width "
        "of the unedited cloud beyond it at most. First edit order.",
    ),
    "scores_against_edits": FigureEntry(
        ("scores",),
        "Editing scores against edits",
        "Efficacy (ES), paraphrase (PS) and neighbourhood (NS) scores and their harmonic mean (S); where facts ask "
        "about other relations of the edited subjects, the share of these that stay (specificity, RS). Lines: facts "
        "edited so far, scored at each checkpoint. Hollow markers: the facts edited since the checkpoint before, "
        "each scored just after its own edit. Grey, at 0 edits: the unedited model. "
        f"Bars are 95% bootstrap intervals over facts. {_SPLIT}",
    ),
    "retention_by_age": FigureEntry(
        ("scores",),
        "Retention of edits by age",
        "Efficacy, and the harmonic mean of ES, PS and NS, of edited facts at the end of the run by how many edits "
        f"were made after them; means over facts in bins of equal numbers, at their mean age. {_SPLIT}",
    ),
    "perplexity_against_edits": FigureEntry(
        ("downstream",),
        "Perplexity against edits",
        "Perplexity on held-out running text at each checkpoint; the dotted line is the unedited model. "
        f"{_BANDS} A cross ends a line where perplexity is no longer finite. {_SPLIT}",
    ),
    "general_ability": FigureEntry(
        ("downstream", "scores"),
        "General ability against edits",
        "Shares of right answers at each checkpoint. Next tokens: the most probable one is right, on held-out text. "
        "Cloze: of a fact that no edit is about, the true object has the highest probability among up to eight of "
        "the same relation. Untouched facts: facts that no edit is about whose true object is more probable than the "
        "counterfactual one. Tasks of the evaluation harness, where the study names any. The dotted line is the "
        f"unedited model. {_BANDS} {_SPLIT}",
    ),
    "norm_against_damage": FigureEntry(
        ("norms", "activations", "scores", "downstream"),
        "Growth of the norm beside damage",
        "One marker per editor at the end of its run, averaged over edited matrices and edit orders; hollow markers "
        "are control arms. Over each panel: Spearman's rank correlation over the editors (arms left out) with its 95% "
        "interval. What goes together need not cause each other: the control arms are there for that.",
    ),
    "damage_by_explanation": FigureEntry(
        ("norms", "spectra", "activations", "scores", "downstream"),
        "Which explanation orders the editors by damage",
        "One named point per editor at the end of its run, averaged over edit orders; hollow markers are control arms. "
        "Damage: perplexity of held-out text, and S of edited facts just after their own edit minus S of the same "
        "facts at the end. Against the norm of the edited matrices, the length of their whole change (drift), the norm "
        "of the edited layers' MLP outputs on text, and the angle by which leading left and right singular subspaces "
        "have turned. Axes relative to unedited are in proportion within 0.01 of 1 and logarithmic beyond. Over each "
        "panel: Spearman's rank correlation over the editors (arms left out) with its 95% interval, by resampling "
        "editors.",
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


def figures_of(editors: Iterable[str], interventions: bool = False, altered_weights: bool = True) -> list[str]:
    """The figures that a study of these editors draws, in the order of the report.

    Args:
        interventions: True where the study has interventions.
        altered_weights: True where it measures models with altered weights (`measure.arms`).
    """
    arms = any(map(is_control, editors))
    return [
        name
        for name, entry in FIGURES.items()
        if (arms or not entry.of_arms)
        and (interventions or not entry.of_interventions)
        and (altered_weights or not entry.of_altered_weights)
    ]
