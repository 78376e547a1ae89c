"""Tables of the report that come from the verdicts' file: editors compared, and published numbers beside ours."""

from normgrowth.claims.markdown import probability
from normgrowth.claims.published import NOT_RUN
from normgrowth.report.cells import Cell, Table, measured


def evidence_tables(judged: dict) -> list[Table]:
    """The tables, those without rows left out.

    Args:
        judged: what `claims.judge` gives.
    """
    made = [comparison_table(judged["comparisons"]), published_table(judged["published"])]
    return [table for table in made if table.rows]


def comparison_table(comparisons: list[dict]) -> Table:
    """Every pair of editors of a model, on the same edits."""
    rows = [
        [
            *(Cell(c[name]) for name in ("model", "first", "second")),
            *(_points(c[name]) for name in ("effect", "low", "high")),
            _probability(c["p"]),
            _probability(c["p_adjusted"]),
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
    order = {"differs": 0, "agrees": 1, NOT_RUN: 2}
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


def _points(share: float | None) -> Cell:
    return Cell("–") if share is None else Cell(f"{100 * share:+.1f}", share)


def _probability(p: float | None) -> Cell:
    return Cell(probability(p), p)
