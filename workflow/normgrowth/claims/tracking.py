"""Do norm growth and damage go together over the editors of a model? What goes together need not cause each other."""

import numpy as np
import pandas as pd

from normgrowth.analysis.edit_scores import final_s
from normgrowth.analysis.effects import rank_correlation
from normgrowth.analysis.intervals import Interval
from normgrowth.analysis.places import PLACES, at_place
from normgrowth.claims.verdict import (
    NOT_MEASURED,
    TOO_SHORT,
    UNDECIDED,
    Evidence,
    Measure,
    Rule,
    Verdict,
    count,
    decide,
    with_interval,
)
from normgrowth.editors.families import family_of

DAMAGE = {
    "perplexity": "log_perplexity",
    "S of edited facts at the end": "s",
    "cloze accuracy": "cloze",
    "residual norm on text": "residual",
}

FEWEST_FAMILIES = 3
"""Families below which their correlation is 1 or -1 whatever they do."""


def growth_tracks_damage(evidence: Evidence, rule: Rule) -> Verdict:
    """Rank correlation of the norm's growth with damage; each editor is one pair, its edit orders averaged.

    Editors of one family are variants of each other, and count as independent here. The same correlation over families,
    each counted once by its mean, stands beside it; where three or more point the other way nothing is decided. What is
    not finite ranks as the largest: an editor that breaks the model is no missing value.
    """
    names = ("norms", "activations", "scores", "downstream")
    table = damage_by_editor({name: getattr(evidence, name) for name in names})
    broken = sorted(table.index[np.isinf(table[["log_norm", "log_perplexity"]]).any(axis=1)])
    families = table.groupby([family_of(editor) or editor for editor in table.index]).mean()
    measures = tuple(
        measure
        for name, column in DAMAGE.items()
        if column in table and table[column].notna().any()
        for measure in (
            Measure(f"rank correlation of norm and {name}", _rho(table, column).interval, "rho", 0.0),
            Measure(f"the same over families, norm and {name}", _over_families(families, column), "rho", 0.0),
        )
    )
    if not measures or "perplexity" not in measures[0].name:
        return Verdict(NOT_MEASURED, "No norms and perplexities of the same runs.")
    effect, by_family = _rho(table, DAMAGE["perplexity"]), measures[1].interval
    edits, orders = int(evidence.norms["step"].max()), int(evidence.norms["order"].nunique())
    if not effect.bounded:
        reading = f"{count(effect.interval.n, 'editor')} are too few, or too alike, for a rank correlation."
        return Verdict(TOO_SHORT, reading, measures, edits, orders)
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
        return Verdict(UNDECIDED, f"{reading} They point in different directions.", measures, edits, orders)
    return Verdict(status, reading, measures, edits, orders, tests=tests)


def damage_by_editor(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Per editor in tables of one model, at the end of its run and averaged over orders: the norm's growth, and damage.

    Columns: `log_norm` (mean over edited matrices of the log ratio), `log_perplexity`, `s`, `cloze`, `residual` (ratio
    of mean norms of the residual stream, last layer, text); those that were measured. Growth, perplexity and residual
    norm are infinite where an order's is no finite number.
    """
    norms = tables["norms"][tables["norms"]["role"] == "edited"]
    norms = norms[norms["step"] == norms.groupby("editor")["step"].transform("max")]
    ratios = _or_infinite(np.log(norms["frobenius_ratio"].astype(float))).groupby(norms["editor"])
    table = pd.DataFrame({"log_norm": ratios.mean()})
    downstream = tables["downstream"]
    for column, task, metric in (
        ("log_perplexity", "heldout_text", "log_perplexity_change"),
        ("cloze", "cloze", "accuracy"),
    ):
        rows = downstream[(downstream["task"] == task) & (downstream["metric"] == metric)]
        table[column] = _at_end(rows, "value", infinite=column != "cloze")
    activations = tables["activations"]
    residual = at_place(activations, PLACES[0], activations["layer"].max())
    table["residual"] = _at_end(residual, "ratio_of_norms", infinite=True)
    table["s"] = pd.Series({editor: final_s(part) for editor, part in tables["scores"].groupby("editor")}, dtype=float)
    return table


def _rho(table: pd.DataFrame, column: str):
    return rank_correlation(table["log_norm"], table[column])


def _over_families(families: pd.DataFrame, column: str) -> Interval:
    """The rank correlation over families, whose number is too small for an interval."""
    ranks = families[["log_norm", column]].dropna().rank()
    varies = len(ranks) > 1 and (ranks.nunique() > 1).all()
    return Interval.bare(ranks["log_norm"].corr(ranks[column]) if varies else np.nan, len(ranks))


def _at_end(rows: pd.DataFrame, value: str, infinite: bool) -> pd.Series:
    """An editor's mean over orders at its last step; what is not finite counts as infinite where that is asked for."""
    rows = rows[(rows["step"] > 0) & (rows["step"] == rows.groupby("editor")["step"].transform("max"))]
    values = rows[value].astype(float)
    return (_or_infinite(values) if infinite else values).groupby(rows["editor"]).mean()


def _or_infinite(values: pd.Series) -> pd.Series:
    return values.where(np.isfinite(values), np.inf)
