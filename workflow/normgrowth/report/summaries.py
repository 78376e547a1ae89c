"""The tables of the report: what a reader wants to look up, few enough rows to read."""

import math
from pathlib import Path

import pandas as pd

from normgrowth.analysis.collapse import collapses
from normgrowth.analysis.edit_scores import PARTS_OF_S, harmonic_mean
from normgrowth.io.results import read_result, read_results
from normgrowth.layout import CLAIM_TABLES, UNEDITED
from normgrowth.report.cells import Cell, Table, known, measured, percent, whole
from normgrowth.report.collapse_table import collapse_tables, time_table

SINGLE_EDITS = "single_edits"


def read_summaries(folder: Path) -> list[Table]:
    """The tables of the report, from the folder of a study's tables.

    Raises:
        ArtefactError: when a table is missing or damaged.
    """
    return summaries(read_results(folder, CLAIM_TABLES), single_edits(folder))


def single_edits(folder: Path, study: str | None = None) -> pd.DataFrame | None:
    """Table `single_edits`, which exists only where the study asks for it."""
    return read_result(folder, SINGLE_EDITS, study) if (folder / f"{SINGLE_EDITS}.parquet").exists() else None


def summaries(tables: dict[str, pd.DataFrame], singles: pd.DataFrame | None = None) -> list[Table]:
    """When runs break, norms at the end, scores over the run, single edits, and the cost of an edit."""
    tables = {name: frame[frame["editor"] != UNEDITED] for name, frame in tables.items()}
    runs = collapses(tables)
    made = [
        *collapse_tables(runs),
        time_table(runs),
        norm_summary(tables["norms"]),
        score_summary(tables["scores"], tables["downstream"]),
        *([] if singles is None else [single_edit_summary(singles)]),
        cost_summary(tables["edits"]),
    ]
    return [table for table in made if table.rows]


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
                known(last["drift_cosine"].astype(float).mean()),
            ]
            rows.append([Cell(model), Cell(editor), Cell(matrix), whole(layer), whole(edits), *map(measured, values)])
        control = run[run["role"] == "control"]
        if len(control):
            moved = (control["frobenius_ratio"] - 1).abs().max(skipna=False)
            matrices = f"{control['matrix'].nunique()} control matrices, largest change"
            ratio = Cell("exactly 1" if moved == 0 else f"1 ± {moved:.2g}", 1.0 + moved)
            none = Cell("–")
            rows.append([Cell(model), Cell(editor), Cell(matrices), none, whole(edits), none, none, ratio, none, none])
    return Table(
        "Norm of the edited matrices at the end of the run",
        "Frobenius norms; means over edit orders. Drift is the norm of the whole change since the unedited matrix, its "
        "cosine that of the change and the unedited matrix.",
        3,
        ("model", "editor", "matrix", "layer", "edits", "‖W₀‖", "‖W‖", "ratio", "drift ‖W−W₀‖", "cosine of drift"),
        {"": rows},
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
            shown = [percent(value) for value in (*means, float(harmonic_mean(means)))]
            text = measured(perplexity.get((model, editor, step), None))
            facts = whole(part["case_id"].nunique())
            rows.append([Cell(model), Cell(editor), Cell(moment, order), facts, *shown, text])
    return Table(
        "Scores over the run",
        "Means over facts, in percent; S is the harmonic mean of the three. Perplexity is on held-out text.",
        3,
        ("model", "editor", "scored", "facts", "ES", "PS", "NS", "S", "perplexity"),
        {"": rows},
    )


def single_edit_summary(singles: pd.DataFrame) -> Table:
    """Facts edited alone on the unedited model: what an editor does before any other edit stands in its way."""
    rows = []
    for (model, editor), run in singles.groupby(["model", "editor"]):
        means = run[PARTS_OF_S].mean().to_numpy()
        shown = [percent(value) for value in (*means, float(harmonic_mean(means)))]
        rows.append([Cell(model), Cell(editor), whole(len(run)), *shown, measured(run["delta_frobenius"].mean())])
    return Table(
        "Single edits",
        "Each fact edited alone on the unedited model, scored, and undone; means over facts, scores in percent. "
        "‖ΔW‖ is the norm of an edit's change over all edited matrices.",
        2,
        ("model", "editor", "facts", "ES", "PS", "NS", "S", "‖ΔW‖"),
        {"": rows},
    )


def cost_summary(edits: pd.DataFrame) -> Table:
    """What an edit costs and whether it takes."""
    rows = []
    for (model, editor), run in edits.groupby(["model", "editor"]):
        seconds = run["edit_seconds"] if "edit_seconds" in run else pd.Series(dtype=float)
        values = map(known, (seconds.mean(), seconds.median(), run["search_steps"].mean()))
        took = percent(run["immediate_efficacy"].mean())
        skipped = whole(run["skipped_reason"].notna().sum())
        rows.append([Cell(model), Cell(editor), whole(len(run)), *map(measured, values), took, skipped])
    return Table(
        "Seconds per edit",
        "Wall time of the editor alone, without loading and measuring; for batches, the batch's time over its size. "
        "Times depend on the machine and on what else it does.",
        2,
        ("model", "editor", "edits", "mean s", "median s", "gradient steps", "took at once, %", "skipped"),
        {"": rows},
    )
