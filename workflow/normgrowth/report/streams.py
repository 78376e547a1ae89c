"""Table of the report: scores by kind of edit, of studies whose streams edit facts more than once."""

import pandas as pd

from normgrowth.analysis.edit_scores import PARTS_OF_S, final_scores, harmonic_mean
from normgrowth.facts.streams import FIRST, PUT_BACK, REPEAT
from normgrowth.report.cells import Cell, Table, percent, whole

KINDS = {FIRST: "first of its fact", REPEAT: "to another new object", PUT_BACK: "put back"}


def stream_summary(scores: pd.DataFrame, stream: pd.DataFrame) -> Table:
    """ES, PS, NS and S of each kind of edit, just after the edits and at the end of the run.

    Args:
        scores: table `scores`.
        stream: table `stream`.
    """
    kinds = stream.assign(edited_at=stream["step"].astype(float))[["model", "editor", "order", "edited_at", "kind"]]
    rows = []
    for (model, editor), run in scores.groupby(["model", "editor"]):
        moments = {"just after it": run[run["moment"] == "immediate"], "at the end": final_scores(run)}
        with_kinds = {m: part.astype({"edited_at": float}).merge(kinds) for m, part in moments.items()}
        for place, (kind, said) in enumerate(KINDS.items()):
            for number, (moment, part) in enumerate(with_kinds.items()):
                edits = part.loc[part["kind"] == kind, PARTS_OF_S].astype(float)
                if edits.empty:
                    continue
                means = edits.mean().to_numpy()
                shown = [percent(value) for value in (*means, float(harmonic_mean(means)))]
                words = (Cell(model), Cell(editor), Cell(said, place), Cell(moment, number))
                rows.append([*words, whole(len(edits)), *shown])
    return Table(
        "Scores by kind of edit",
        "Of a stream that edits facts more than once: means over edits, in percent. At the end each fact counts once, "
        "under the kind of its latest edit. An edit's object must be more probable than the fact's true object and the "
        "one that was edited in before; put back, the true object must be more probable than the latter.",
        4,
        ("model", "editor", "edit", "scored", "edits", "ES", "PS", "NS", "S"),
        {"": rows},
    )
