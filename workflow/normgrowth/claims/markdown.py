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
        lines += ["", f"Control arms count in no claim: {', '.join(judged['control_arms'])}."]
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
