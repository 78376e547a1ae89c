"""The tables of the report: what a reader wants to look up, few enough rows to read."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from normgrowth.artefacts.schemas import UNEDITED
from normgrowth.claims.collapse import BAR, FIRST, WINDOW, collapses
from normgrowth.claims.markdown import number
from normgrowth.claims.performance import PARTS_OF_S, harmonic_mean
from normgrowth.families import rank


@dataclass(frozen=True)
class Cell:
    """What a cell shows, and the number it sorts by (None: by its text)."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """A table that sorts by any column; the first `labels` columns hold words, the others numbers."""

    title: str
    note: str
    labels: int
    columns: tuple[str, ...]
    rows: list[list[Cell]]


def summaries(tables: dict[str, pd.DataFrame]) -> list[Table]:
    """Norms at the end, scores over the run, and the cost of an edit, from the study's tables."""
    tables = {name: frame[frame["editor"] != UNEDITED] for name, frame in tables.items()}
    made = [
        collapse_summary(tables),
        norm_summary(tables["norms"]),
        score_summary(tables["scores"], tables["downstream"]),
        cost_summary(tables["edits"]),
    ]
    return [table for table in made if table.rows]


def collapse_summary(tables: dict[str, pd.DataFrame]) -> Table:
    """When each run collapses, and what it is like at its end."""
    runs = collapses(tables)
    runs.sort(key=lambda run: (run.model, rank(run.editor), run.order))
    several = len({run.order for run in runs}) > 1
    rows = []
    for run in runs:
        row = [Cell(run.model), Cell(f"{run.editor}, order {run.order}" if several else run.editor)]
        row += [_share(run.first_efficacy), _share(run.start)]
        row += [_reached(edit, run.edits) for edit in (run.below_bar, run.below_half)]
        row += [_share(run.final)]
        row += map(_number, (run.norm_ratio, run.perplexity_ratio, run.residual_ratio, run.cosine))
        rows.append(row)
    return Table(
        "When runs collapse",
        f"ES of the first {FIRST} facts and S of the first {WINDOW}, each just after its own edit; the edit at which S "
        f"of the last {WINDOW} falls under {100 * BAR:.0f} and under half of its start; S of edited facts at the end; "
        "and at the end, relative to the unedited model, the norm of the edited matrices, perplexity, and the last "
        "layer's residual stream on text, with its cosine.",
        2,
        (
            "model",
            "editor",
            f"ES, first {FIRST}",
            f"S, first {WINDOW}",
            f"S under {100 * BAR:.0f} at",
            "S halved at",
            "S at the end",
            "norm ×",
            "perplexity ×",
            "residual ×",
            "cosine",
        ),
        rows,
    )


def norm_summary(norms: pd.DataFrame) -> Table:
    """Each edited matrix at the end of the run, and the control matrices together."""
    rows = []
    for (model, editor), run in norms.groupby(["model", "editor"]):
        edits = int(run["step"].max())
        end = run[run["step"] == edits]
        start = run[run["step"] == 0].groupby("matrix")["frobenius"].mean()
        for (layer, matrix), last in end[end["role"] == "edited"].groupby(["layer", "matrix"]):
            values = [
                start.get(matrix),
                *(last[c].mean(skipna=False) for c in ("frobenius", "frobenius_ratio", "drift_frobenius")),
                _known(last["drift_cosine"].astype(float).mean()),
            ]
            rows.append([Cell(model), Cell(editor), Cell(matrix), _count(layer), _count(edits), *map(_number, values)])
        control = run[run["role"] == "control"]
        if len(control):
            moved = (control["frobenius_ratio"] - 1).abs().max(skipna=False)
            matrices = f"{control['matrix'].nunique()} control matrices, largest change"
            ratio = Cell("exactly 1" if moved == 0 else f"1 ± {moved:.2g}", 1.0 + moved)
            none = Cell("–")
            rows.append([Cell(model), Cell(editor), Cell(matrices), none, _count(edits), none, none, ratio, none, none])
    return Table(
        "Norm of the edited matrices at the end of the run",
        "Frobenius norms; means over edit orders. Drift is the norm of the whole change since the unedited matrix, its "
        "cosine that of the change and the unedited matrix.",
        3,
        ("model", "editor", "matrix", "layer", "edits", "‖W₀‖", "‖W‖", "ratio", "drift ‖W−W₀‖", "cosine of drift"),
        rows,
    )


def score_summary(scores: pd.DataFrame, downstream: pd.DataFrame) -> Table:
    """ES, PS, NS, S and perplexity before, at each edit, and at each checkpoint."""
    perplexity = downstream[downstream["metric"] == "perplexity"] if len(downstream) else downstream
    perplexity = perplexity.groupby(["model", "editor", "step"])["value"].agg(lambda values: values.mean(skipna=False))
    rows = []
    for (model, editor), run in scores.groupby(["model", "editor"]):
        parts = [(0, "unedited model", run[run["moment"] == "unedited"])]
        parts.append((math.nan, "each just after its edit", run[run["moment"] == "immediate"]))
        kept = run[run["moment"].isin(["retention", "final"])]
        parts += [(step, f"after {step:,} edits", part) for step, part in kept.groupby("step")]
        for order, (step, moment, part) in enumerate(parts):
            if part.empty:
                continue
            part = part.drop_duplicates(["order", "step", "case_id"], keep="last")
            means = part.groupby("case_id")[PARTS_OF_S].mean().mean().to_numpy()
            shown = [_percent(value) for value in (*means, float(harmonic_mean(means)))]
            text = _number(perplexity.get((model, editor, step), None))
            facts = _count(part["case_id"].nunique())
            rows.append([Cell(model), Cell(editor), Cell(moment, order), facts, *shown, text])
    return Table(
        "Scores over the run",
        "Means over facts, in percent; S is the harmonic mean of the three. Perplexity is on held-out text.",
        3,
        ("model", "editor", "scored", "facts", "ES", "PS", "NS", "S", "perplexity"),
        rows,
    )


def cost_summary(edits: pd.DataFrame) -> Table:
    """What an edit costs and whether it takes."""
    rows = []
    for (model, editor), run in edits.groupby(["model", "editor"]):
        seconds = run["edit_seconds"] if "edit_seconds" in run else pd.Series(dtype=float)
        values = map(_known, (seconds.mean(), seconds.median(), run["search_steps"].mean()))
        took = _percent(run["immediate_efficacy"].mean())
        skipped = _count(run["skipped_reason"].notna().sum())
        rows.append([Cell(model), Cell(editor), _count(len(run)), *map(_number, values), took, skipped])
    return Table(
        "Seconds per edit",
        "Wall time of the editor alone, without loading and measuring; for batches, the batch's time over its size. "
        "Times depend on the machine and on what else it does.",
        2,
        ("model", "editor", "edits", "mean s", "median s", "gradient steps", "took at once, %", "skipped"),
        rows,
    )


def _number(value: float | None) -> Cell:
    """A measured number; None is one that does not exist, NaN one that a collapsed model gave."""
    if value is None:
        return Cell("–")
    if not np.isfinite(value):
        return Cell("not finite")
    return Cell(number(float(value)), float(value))


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _percent(value: float) -> Cell:
    return Cell(f"{100 * value:.1f}", float(value)) if np.isfinite(value) else Cell("–")


def _share(value: float | None) -> Cell:
    return Cell("–") if value is None else _percent(value)


def _reached(edit: int | None, edits: int) -> Cell:
    """The edit at which something happened; a run in which it did not sorts after its own end."""
    return Cell(f"> {edits:,}", edits + 0.5) if edit is None else _count(edit)


def _count(value: int) -> Cell:
    return Cell(f"{int(value):,}", float(value))
