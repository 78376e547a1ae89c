"""General ability, on text and facts that no edit is about, against edits."""

import pandas as pd
from matplotlib.figure import Figure

from normgrowth.analysis.ability_loss import ACCURACIES
from normgrowth.figures import series
from normgrowth.figures.curves import Quantity, draw_curves
from normgrowth.figures.series import per_step
from normgrowth.figures.style import Style

TASKS = {
    "heldout_text": "next tokens of\nheld-out text, right",
    "cloze": "cloze of facts that\nno edit is about, right",
}


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw tables `downstream` and `scores`."""
    downstream = series.edited_runs(tables["downstream"], "downstream")
    accuracy = downstream[downstream["metric"].isin(ACCURACIES)]
    others = sorted(set(accuracy["task"]) - set(TASKS))
    labels = TASKS | {task: f"{task},\nright" for task in others}
    quantities = [
        Quantity(label, per_step(accuracy[accuracy["task"] == task], "value"), share=True)
        for task, label in labels.items()
    ]
    untouched = series.edited_runs(tables["scores"], "scores")
    untouched = untouched[untouched["moment"] == "untouched"]
    kept = untouched.assign(kept=1 - untouched["es"])
    quantities.append(Quantity("untouched facts whose true\nobject is preferred", per_step(kept, "kept"), share=True))
    return draw_curves(style, quantities)
