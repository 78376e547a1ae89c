"""The table of collapse: one per model, a row per run, grouped by family."""

from normgrowth.analysis.collapse import EARLY, FLOOR, WINDOW, Collapse
from normgrowth.analysis.intervals import median_time
from normgrowth.claims.verdict import count
from normgrowth.editors.families import PLURAL, family_of, in_order
from normgrowth.report.cells import Cell, Table, percent, ratio, whole

COLUMNS = (
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
NOTE = (
    "S, in percent, is the harmonic mean of ES, PS and NS just after each edit, over a sliding window of the last "
    f"{WINDOW} edits; at first is its first window. Under {100 * FLOOR:.0f}% and under half of its first value: at "
    "which edit it first is, if within the run. S at the end is of the edited facts after the run; near 50 means "
    "chance. Norm (geometric "
    "mean over edited matrices), perplexity on held-out text, and norm and cosine of the residual stream after the "
    "last layer, on text, are relative to the unedited model, at the end of the run. Control arms stand beside the "
    "editors, not among them."
)


def collapse_tables(runs: list[Collapse]) -> list[Table]:
    """One table for each model."""
    models = sorted({run.model for run in runs})
    return [_table(model, [run for run in runs if run.model == model], NOTE * (model == models[0])) for model in models]


def time_table(runs: list[Collapse]) -> Table:
    """How long editors of several edit orders last: Kaplan and Meier's median, runs that last being censored."""
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


def _table(model: str, runs: list[Collapse], note: str) -> Table:
    runs = [run for editor in in_order({run.editor for run in runs}) for run in runs if run.editor == editor]
    orders = len({run.order for run in runs}) > 1
    families = {family: [run for run in runs if family_of(run.editor) == family] for family in PLURAL}
    groups = {PLURAL[family]: [_row(run, orders) for run in found] for family, found in families.items() if found}
    labels = ("editor", *["order"] * orders)
    return Table(f"When runs break: {model}", note, len(labels), (*labels, *COLUMNS), groups)


def _row(run: Collapse, orders: bool) -> list[Cell]:
    return [
        Cell(run.editor),
        *[whole(run.order)] * orders,
        percent(run.start),
        Cell("from the start", 0.0) if _starts_below(run) else _edit(run, run.below_floor),
        Cell("–") if run.start == 0 else _edit(run, run.below_half),  # nothing is below half of nothing
        percent(run.early_es),
        percent(run.final_s),
        *map(ratio, (run.norm_ratio, run.perplexity_ratio, run.residual_ratio, run.residual_cosine)),
    ]


def _starts_below(run: Collapse) -> bool:
    return run.start is not None and run.start < FLOOR


def _edit(run: Collapse, edit: int | None) -> Cell:
    """The edit at which a score fell; one that did not sorts behind all that did."""
    if run.start is None:
        return Cell("–")
    return whole(edit) if edit is not None else Cell(f"not within {count(run.edits, 'edit')}", run.edits + 0.5)
