"""Correlation of norm growth and damage over the editors of a model; it shows no cause."""

import numpy as np
import pandas as pd

from normgrowth.analysis.ability_loss import damage_by_editor
from normgrowth.analysis.effects import rank_correlation
from normgrowth.analysis.intervals import Interval
from normgrowth.claims.claim import EditingEvidence
from normgrowth.claims.verdict import Measure, Rule, Status, Verdict, count, decide, with_interval
from normgrowth.editors.families import family_of

PERPLEXITY = "log_perplexity"

DAMAGE = {
    PERPLEXITY: "perplexity",
    "s": "S of edited facts at the end",
    "cloze": "cloze accuracy",
    "residual": "residual norm on text",
}
"""Kinds of damage, by their columns of `damage_by_editor`."""

FEWEST_FAMILIES = 3
"""Fewest families for a correlation: of two it is always 1 or -1."""


def growth_tracks_damage(evidence: EditingEvidence, rule: Rule) -> Verdict:
    """Rank correlation of the norm's growth with damage; each editor is one pair, its edit orders averaged.

    Editors of one family are variants of each other, but count as independent here. The same correlation over families,
    each counted once by its mean, is reported beside it; where that of three or more has the other sign nothing is
    decided. Values that are not finite rank as the largest: an editor that breaks the model is no missing value.
    """
    table = damage_by_editor(evidence.norms, evidence.activations, evidence.scores, evidence.downstream)
    broken = sorted(table.index[np.isinf(table[["log_norm", "log_perplexity"]]).any(axis=1)])
    families = table.groupby([family_of(editor) or editor for editor in table.index]).mean()
    found = {
        column: (rank_correlation(table["log_norm"], table[column]), _over_families(families, column))
        for column in DAMAGE
        if table[column].notna().any()
    }
    if PERPLEXITY not in found:
        return Verdict(Status.NOT_MEASURED, "No norms and perplexities of the same runs.")
    measures = tuple(
        measure
        for column, (over_editors, over_families) in found.items()
        for measure in (
            Measure(f"rank correlation of norm and {DAMAGE[column]}", over_editors.interval, "rho", 0.0),
            Measure(f"the same over families, norm and {DAMAGE[column]}", over_families, "rho", 0.0),
        )
    )
    effect, by_family = found[PERPLEXITY]
    edits, orders = int(evidence.norms["step"].max()), int(evidence.norms["order"].nunique())
    if not effect.bounded:
        reading = f"{count(effect.interval.n, 'editor')} are too few, or too alike, for a rank correlation."
        return Verdict(Status.TOO_SHORT, reading, measures, edits, orders)
    reading = (
        f"Over {count(effect.interval.n, 'editor')}, growth of the norm and of perplexity after {count(edits, 'edit')} "
        f"have a rank correlation of {with_interval(effect.interval, plus='+')}"
    )
    told = by_family.n >= FEWEST_FAMILIES and np.isfinite(by_family.estimate)
    reading += f"; over {by_family.n} families, each counted once, it is {by_family.estimate:+.2g}." if told else "."
    if broken:
        reading += f" Not finite, and ranked as the largest: {', '.join(broken)}."
    status, tests = decide(effect, rule)
    if told and by_family.estimate * effect.interval.estimate < 0:
        return Verdict(Status.UNDECIDED, f"{reading} They point in different directions.", measures, edits, orders)
    return Verdict(status, reading, measures, edits, orders, tests=tests)


def _over_families(families: pd.DataFrame, column: str) -> Interval:
    """The rank correlation over families, whose number is too small for an interval."""
    ranks = families[["log_norm", column]].dropna().rank()
    varies = len(ranks) > 1 and (ranks.nunique() > 1).all()
    return Interval.bare(ranks["log_norm"].corr(ranks[column]) if varies else np.nan, len(ranks))
