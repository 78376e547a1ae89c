"""The verdicts as Markdown, for reading in a terminal or on a code host."""

from normgrowth.claims.verdict import Status


def as_markdown(judged: dict) -> str:
    """One overview table, then each claim with its rule and its verdicts."""
    lines = [
        f"# Claims of {judged['paper']}, judged on {', '.join(judged['studies']) or 'no data'}",
        "",
        "| claim | verdicts | of several orders or training runs | effects |",
        "| --- | --- | --- | --- |",
    ]
    for claim in judged["claims"]:
        counted = (in_words(claim[name]) or "–" for name in ("counts", "over_orders"))
        lines.append(_row(claim["title"], *counted, effects(claim)))
    if judged["control_arms"]:
        lines += ["", f"Control arms are not judged themselves: {', '.join(judged['control_arms'])}."]
    for claim in judged["claims"]:
        lines += ["", f"## {claim['title']}", "", f"{claim['text']} ({claim['source']})", ""]
        lines.append(f"Measured: {claim['measured']}")
        lines += ["", f"Effect: {claim['effect']}.", "", f"Rule: {claim['rule']}"]
        if "needs" in claim:
            lines += ["", f"**Not measured.** It would take {claim['needs']}."]
        if claim["verdicts"]:
            lines += ["", "| model | editor | where | orders | verdict | effect | 95% interval | n | p | reading |"]
            lines += ["| --- | --- | --- | ---: | --- | ---: | --- | ---: | ---: | --- |"]
        for verdict in claim["verdicts"]:
            lines.append(
                _row(
                    verdict["model"],
                    verdict["editor"],
                    verdict["where"] or "–",
                    str(verdict["orders"]),
                    verdict["status"],
                    number(verdict["effect"]),
                    interval(verdict),
                    f"{verdict['n']:,}",
                    probability(verdict["p"]),
                    verdict["reading"],
                )
            )
        lines += _measures(claim)
    lines += _comparisons(judged["comparisons"]) + _published(judged["published"])
    return "\n".join(lines) + "\n"


def in_words(counts: dict[str, int]) -> str:
    """`15 supported, 2 negligible`."""
    return ", ".join(f"{number} {word}" for word, number in in_order(counts))


def in_order(counts: dict[str, int]) -> list[tuple[str, int]]:
    """Statuses and how often each occurs, in the order in which they are told; JSON does not keep it."""
    return [(status.value, counts[status]) for status in Status if status in counts]


def effects(claim: dict) -> str:
    """Least and largest effect of a claim's runs, with their unit; a dash where there are none."""
    found = claim["range"]
    return "–" if found is None else f"{found['unit']} {number(found['low'])} to {number(found['high'])}"


def number(value: float | None) -> str:
    """Four significant digits without an exponent where that is short; a dash for no number."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e7 else f"{value:.4g}"


def probability(p: float | None) -> str:
    """A p-value with three decimals at most; a dash where nothing was tested."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def interval(row: dict) -> str:
    """`0.91 to 0.97`, `exact` or `none`."""
    if row["low"] is None or row["high"] is None:
        return "none"
    if row["low"] == row["high"]:
        return "exact"
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
        _row(v["model"], v["editor"], v["where"] or "–", m["name"], number(m["effect"]), interval(m), f"{m['n']:,}")
        for v in claim["verdicts"]
        for m in v["measures"][1:]
    ]
    if not rows:
        return []
    head = ["", "Beside it:", "", "| model | editor | where | measure | effect | 95% interval | n |"]
    return [*head, "| --- | --- | --- | --- | ---: | --- | ---: |", *rows]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
