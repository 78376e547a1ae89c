"""Statistics of tables: effects with their intervals, collapse, scores of a run. No torch, and no verdicts."""
