"""The verdicts as Markdown, for reading in a terminal or on a code host."""

from normgrowth.claims.verdict import NOT_MEASURED


def as_markdown(judged: dict) -> str:
    """One overview table, then each claim with its rule and its verdicts."""
    lines = [
        f"# Claims of {judged['paper']}, judged on {', '.join(judged['studies']) or 'no data'}",
        "",
        "| claim | verdict | by model and editor |",
        "| --- | --- | --- |",
    ]
    for claim in judged["claims"]:
        counts = ", ".join(f"{number} {word}" for word, number in claim["counts"].items())
        lines.append(_row(claim["title"], f"**{claim['status']}**", counts or "-"))
    if judged["control_arms"]:
        lines += ["", f"Control arms are not judged themselves: {', '.join(judged['control_arms'])}."]
    for claim in judged["claims"]:
        lines += ["", f"## {claim['title']}", "", f"{claim['text']} ({claim['source']})", ""]
        lines.append(f"Measured: {claim['measured']}")
        if claim["rule"]:
            lines += ["", f"Rule: {claim['rule']}"]
        if claim["status"] == NOT_MEASURED:
            lines += ["", f"**Not measured.** It would take {claim['needs']}."]
        if claim["verdicts"]:
            lines += ["", "| model | editor | verdict | effect | 95% interval | n | reading |"]
            lines += ["| --- | --- | --- | ---: | --- | ---: | --- |"]
        for verdict in claim["verdicts"]:
            lines.append(
                _row(
                    verdict["model"],
                    verdict["editor"],
                    verdict["status"],
                    number(verdict["effect"]),
                    interval(verdict),
                    f"{verdict['n']:,}",
                    verdict["reading"],
                )
            )
        lines += _measures(claim)
    lines += _comparisons(judged["comparisons"]) + _published(judged["published"])
    return "\n".join(lines) + "\n"


def number(value: float | None) -> str:
    """Four significant digits without an exponent where that is short; a dash for no number."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e7 else f"{value:.4g}"


def interval(row: dict) -> str:
    """`0.91 to 0.97`, or `none`."""
    if row["low"] is None or row["high"] is None:
        return "none"
    return f"{number(row['low'])} to {number(row['high'])}"


def _comparisons(comparisons: list[dict]) -> list[str]:
    """Pairs of editors whose S surely differs, with Holm's correction over all pairs of a model."""
    if not comparisons:
        return []
    sure = [c for c in comparisons if c["p_adjusted"] < 0.05]
    lines = ["", "## Editors compared", ""]
    lines.append(
        "S of edited facts at the end of the run, first minus second, on the same edits: bootstrap over facts, "
        f"p-values adjusted for all pairs of a model (Holm). {len(sure)} of {len(comparisons)} pairs differ at 5%."
    )
    if sure:
        lines += ["", "| model | first | second | S, first minus second | 95% interval | adjusted p |"]
        lines += ["| --- | --- | --- | ---: | --- | ---: |"]
    for c in sure:
        cells = (c["model"], c["first"], c["second"], number(c["effect"]), interval(c), number(c["p_adjusted"]))
        lines.append(_row(*cells))
    return lines


def _published(rows: list[dict]) -> list[str]:
    """Published numbers beside ours; of those that no run can be set beside, only their number."""
    compared = [row for row in rows if row["ours"] is not None]
    lines = ["", "## Published numbers beside ours", ""]
    lines.append(f"{len(compared)} of {len(rows)} published numbers were measured under their conditions.")
    if compared:
        lines += ["", "| source | model | editor | quantity | published | ours | difference | tolerance | |"]
        lines += ["| --- | --- | --- | --- | ---: | ---: | ---: | ---: | --- |"]
    for row in compared:
        values = (number(row[name]) for name in ("published", "ours", "difference", "tolerance"))
        lines.append(_row(row["source"], row["model"], row["editor"], row["quantity"], *values, row["status"]))
    return lines


def _measures(claim: dict) -> list[str]:
    rows = [
        _row(v["model"], v["editor"], m["name"], number(m["effect"]), interval(m), f"{m['n']:,}")
        for v in claim["verdicts"]
        for m in v["measures"][1:]
    ]
    if not rows:
        return []
    head = ["", "Beside it:", "", "| model | editor | measure | effect | 95% interval | n |"]
    return [*head, "| --- | --- | --- | ---: | --- | ---: |", *rows]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
