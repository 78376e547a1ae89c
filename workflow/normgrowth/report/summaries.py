"""Tables of the report: when runs break, norms, scores, costs, editors compared and published numbers beside ours."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from normgrowth.analysis.collapse import EARLY, FLOOR, WINDOW, Collapse, collapses
from normgrowth.analysis.edit_scores import PARTS_OF_S, SPECIFICITY, harmonic_mean, has_specificity
from normgrowth.analysis.intervals import median_time
from normgrowth.claims.published import AGREES, DIFFERS, NOT_RUN
from normgrowth.claims.verdict import count
from normgrowth.editors.families import PLURAL, family_of, in_order
from normgrowth.io.tables import read_provenance, read_result, read_results
from normgrowth.layout import CLAIM_TABLES, SINGLE_EDITS, STREAM, UNEDITED
from normgrowth.report.cells import Cell, Table, known, measured, p_value, percent, points, ratio, whole
from normgrowth.report.side_by_side import side_by_side_tables
from normgrowth.report.streams import stream_summary

COLLAPSE_COLUMNS = (
    "S at first",
    f"S under {100 * FLOOR:.0f}% at edit",
    "S under half at edit",
    f"ES, first {EARLY}",
    "S at the end",
    "norm ×",
    "perplexity ×",
    "residual norm ×",
    "residual cosine",
)
COLLAPSE_NOTE = (
    "S, in percent, is the harmonic mean of ES, PS and NS just after each edit, over a sliding window of the last "
    f"{WINDOW} edits; at first is its first window. Under {100 * FLOOR:.0f}% and under half of its first value: at "
    "which edit it first is, if within the run. S at the end is of the edited facts after the run; near 50 means "
    "chance. Norm (geometric "
    "mean over edited matrices), perplexity on held-out text, and norm and cosine of the residual stream after the "
    "last layer, on text, are relative to the unedited model, at the end of the run. Control arms stand beside the "
    "editors, not among them."
)


SIDE_BY_SIDE = ("spectra", "speed")

SPECIFICITY_NOTE = (
    " RS, relation specificity, is the share of prompts about other relations of the edited subjects whose objects "
    "stay; it is not part of S."
)


def read_summaries(folder: Path) -> list[Table]:
    """The tables of the report, from the folder of a study's tables.

    Raises:
        ArtefactError: when a table is missing or damaged.
    """
    return summaries(read_results(folder, [*CLAIM_TABLES, *more_columns(folder)]), *optional_tables(folder))


def more_columns(folder: Path) -> list[str]:
    """Tables beside `layout.CLAIM_TABLES`, as far as a study has them, that give editors side by side more columns."""
    return [name for name in SIDE_BY_SIDE if (folder / f"{name}.parquet").exists()]


def optional_tables(folder: Path, study: str | None = None) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
    """Tables `single_edits` and `stream`, each only where the study asks for it.

    A table `stream` beside scores of runs without one was left there by a study that had one before.
    """
    there = {name for name in (SINGLE_EDITS, STREAM) if (folder / f"{name}.parquet").exists()}
    runs = read_provenance(folder / "scores.parquet").get("runs", {}).values() if STREAM in there else ()
    if not any(made_by.get("stream") for made_by in runs):
        there.discard(STREAM)
    singles, stream = (read_result(folder, name, study) if name in there else None for name in (SINGLE_EDITS, STREAM))
    return singles, stream


def summaries(
    tables: dict[str, pd.DataFrame], singles: pd.DataFrame | None = None, stream: pd.DataFrame | None = None
) -> list[Table]:
    """Tables of the report that come from a study's tables, those without rows left out.

    They say when runs break, what editors did side by side, norms at the end, scores over the run and by kind of edit,
    single edits, and the cost of an edit.

    Args:
        tables: frames of `layout.CLAIM_TABLES`, and of `more_columns` where they are there.
        singles: table `single_edits`, where the study has one.
        stream: table `stream`, where the study has one.
    """
    tables = {name: frame[frame["editor"] != UNEDITED] for name, frame in tables.items()}
    runs = collapses(tables)
    made = [
        *collapse_tables(runs),
        time_table(runs),
        *side_by_side_tables(tables),
        norm_summary(tables["norms"]),
        score_summary(tables["scores"], tables["downstream"]),
        *([] if stream is None else [stream_summary(tables["scores"], stream)]),
        *([] if singles is None else [single_edit_summary(singles)]),
        cost_summary(tables["edits"]),
    ]
    return [table for table in made if table.rows]


def collapse_tables(runs: list[Collapse]) -> list[Table]:
    """One table for each model."""
    models = sorted({run.model for run in runs})
    return [
        _collapse_table(model, [run for run in runs if run.model == model], COLLAPSE_NOTE * (model == models[0]))
        for model in models
    ]


def time_table(runs: list[Collapse]) -> Table:
    """Median edits before collapse, of editors with several orders (Kaplan-Meier; surviving runs are censored)."""
    rows = []
    for model in sorted({run.model for run in runs}):
        for editor in in_order({run.editor for run in runs if run.model == model}):
            mine = [run for run in runs if (run.model, run.editor) == (model, editor) and run.start is not None]
            if len(mine) > 1:
                rows.append(_lasting(model, editor, mine))
    return Table(
        f"Edits until S falls under {100 * FLOOR:.0f}%",
        "Of editors that ran through several edit orders: the median over orders (Kaplan and Meier), in which an order "
        "that keeps its score counts as lasting at least as long as it ran. S as in the tables above.",
        2,
        ("model", "editor", "orders", "fell in", "median edit", "earliest"),
        {"": rows},
    )


def _lasting(model: str, editor: str, runs: list[Collapse]) -> list[Cell]:
    fell = [run.below_floor is not None for run in runs]
    times = [run.edits if run.below_floor is None else run.below_floor for run in runs]
    median, edits = median_time(times, fell).estimate, min(run.edits for run in runs)
    later = Cell(f"not within {count(edits, 'edit')}", edits + 0.5)
    first = whole(min(time for time, gone in zip(times, fell, strict=True) if gone)) if any(fell) else later
    shown = whole(median) if median <= edits else later
    return [Cell(model), Cell(editor), whole(len(runs)), whole(sum(fell)), shown, first]


def _collapse_table(model: str, runs: list[Collapse], note: str) -> Table:
    runs = [run for editor in in_order({run.editor for run in runs}) for run in runs if run.editor == editor]
    orders = len({run.order for run in runs}) > 1
    families = {family: [run for run in runs if family_of(run.editor) == family] for family in PLURAL}
    groups = {
        PLURAL[family]: [_collapse_row(run, orders) for run in found] for family, found in families.items() if found
    }
    labels = ("editor", *["order"] * orders)
    return Table(f"When runs break: {model}", note, len(labels), (*labels, *COLLAPSE_COLUMNS), groups)


def _collapse_row(run: Collapse, orders: bool) -> list[Cell]:
    return [
        Cell(run.editor),
        *[whole(run.order)] * orders,
        percent(run.start),
        Cell("from the start", 0.0) if _starts_below(run) else _edit_of_fall(run, run.below_floor),
        Cell("–") if run.start == 0 else _edit_of_fall(run, run.below_half),  # nothing is below half of nothing
        percent(run.early_es),
        percent(run.final_s),
        *map(ratio, (run.norm_ratio, run.perplexity_ratio, run.residual_ratio, run.residual_cosine)),
    ]


def _starts_below(run: Collapse) -> bool:
    return run.start is not None and run.start < FLOOR


def _edit_of_fall(run: Collapse, edit: int | None) -> Cell:
    """The edit at which a score fell; one that did not sorts behind all that did."""
    if run.start is None:
        return Cell("–")
    return whole(edit) if edit is not None else Cell(f"not within {count(run.edits, 'edit')}", run.edits + 0.5)


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
    """ES, PS, NS, S (RS, if facts have it) and perplexity before, at each edit, and at each checkpoint."""
    columns = _score_columns(scores)
    perplexity = downstream[downstream["metric"] == "perplexity"] if len(downstream) else downstream
    perplexity = perplexity.groupby(["model", "editor", "step"])["value"].agg(lambda values: values.mean(skipna=False))
    rows = []
    for (model, editor), run in scores.groupby(["model", "editor"]):
        parts: list[tuple[float, str, pd.DataFrame]] = [(0, "unedited model", run[run["moment"] == "unedited"])]
        parts.append((math.nan, "each just after its edit", run[run["moment"] == "immediate"]))
        kept = run[run["moment"].isin(["retention", "final"])]
        parts += [(step, f"after {step:,} edits", part) for step, part in kept.groupby("step")]
        for order, (step, moment, part) in enumerate(parts):
            if part.empty:
                continue
            part = part.drop_duplicates(["order", "step", "case_id"], keep="last")
            shown = _score_cells(part.groupby("case_id")[columns].mean().mean(), columns)
            text = measured(perplexity.get((model, editor, step), None))
            facts = whole(part["case_id"].nunique())
            rows.append([Cell(model), Cell(editor), Cell(moment, order), facts, *shown, text])
    return Table(
        "Scores over the run",
        "Means over facts, in percent; S is the harmonic mean of the three. Perplexity is on held-out text."
        + SPECIFICITY_NOTE * (SPECIFICITY in columns),
        3,
        ("model", "editor", "scored", "facts", *_score_names(columns), "perplexity"),
        {"": rows},
    )


def _score_columns(scores: pd.DataFrame) -> list[str]:
    """Columns of a table's scores: those that S is made of, and RS where facts have it."""
    return [*PARTS_OF_S, *[SPECIFICITY] * has_specificity(scores)]


def _score_names(columns: Sequence[str]) -> list[str]:
    """Headings of `_score_cells`."""
    names = [column.upper() for column in columns]
    return [*names[: len(PARTS_OF_S)], "S", *names[len(PARTS_OF_S) :]]


def _score_cells(means: pd.Series, columns: Sequence[str]) -> list[Cell]:
    """Mean scores in percent, S behind those that it is made of."""
    values = [float(means[column]) for column in columns]
    values.insert(len(PARTS_OF_S), float(harmonic_mean(means[PARTS_OF_S].to_numpy(dtype=float))))
    return list(map(percent, values))


def single_edit_summary(singles: pd.DataFrame) -> Table:
    """Facts edited alone on the unedited model: an editor's scores without interference from other edits."""
    rows, columns = [], _score_columns(singles)
    for (model, editor), run in singles.groupby(["model", "editor"]):
        shown = _score_cells(run[columns].mean(), columns)
        rows.append([Cell(model), Cell(editor), whole(len(run)), *shown, measured(run["delta_frobenius"].mean())])
    return Table(
        "Single edits",
        "Each fact edited alone on the unedited model, scored, and undone; means over facts, scores in percent. "
        "‖ΔW‖ is the norm of an edit's change over all edited matrices." + SPECIFICITY_NOTE * (SPECIFICITY in columns),
        2,
        ("model", "editor", "facts", *_score_names(columns), "‖ΔW‖"),
        {"": rows},
    )


def cost_summary(edits: pd.DataFrame) -> Table:
    """Seconds and gradient steps of an edit, and how many edits took or were skipped."""
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


def evidence_tables(judged: dict) -> list[Table]:
    """Tables that come from the verdicts' file, those without rows left out.

    Args:
        judged: result of `claims.judge.judge`.
    """
    made = [comparison_table(judged["comparisons"]), published_table(judged["published"])]
    return [table for table in made if table.rows]


def comparison_table(comparisons: list[dict]) -> Table:
    """Every pair of editors of a model, on the same edits."""
    rows = [
        [
            *(Cell(c[name]) for name in ("model", "first", "second")),
            *(points(c[name]) for name in ("effect", "low", "high")),
            p_value(c["p"]),
            p_value(c["p_adjusted"]),
        ]
        for c in comparisons
    ]
    return Table(
        "Editors compared",
        "S of edited facts at the end of the run, in points of percent, first minus second, on facts that every "
        "editor of the model was scored on, with the bootstrap's 95% interval over facts. p is two-sided, and "
        "adjusted for all pairs of a model (Holm).",
        3,
        ("model", "first", "second", "difference", "low", "high", "p", "adjusted p"),
        {"": rows},
    )


def published_table(rows: list[dict]) -> Table:
    """Published numbers and ours; those that differ first, those that no run can be set beside last."""
    order = {DIFFERS: 0, AGREES: 1, NOT_RUN: 2}
    return Table(
        "Published numbers beside ours",
        "Ours are compared where a study meets all conditions of the published number. The tolerance says which "
        "difference still counts as agreement, and where that comes from.",
        4,
        ("source", "model", "editor", "quantity", "status", "published", "ours", "difference", "tolerance", "note"),
        {
            "": [
                [
                    *(Cell(row[name]) for name in ("source", "model", "editor", "quantity")),
                    Cell(row["status"], order[row["status"]]),
                    *(measured(row[name]) for name in ("published", "ours", "difference", "tolerance")),
                    Cell(row["note"] or row["tolerance_from"]),
                ]
                for row in sorted(rows, key=lambda row: order[row["status"]])
            ]
        },
    )
