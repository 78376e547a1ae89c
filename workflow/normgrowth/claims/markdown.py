"""Verdicts as Markdown, for a terminal or a code host, and the formats of numbers and tables."""

from collections.abc import Collection, Iterable, Mapping

from normgrowth.claims.verdict import Status

VERDICT_COLUMNS = ("model", "editor", "where", "orders", "verdict", "effect", "95% interval", "n", "p", "reading")


def as_markdown(judged: dict) -> str:
    """Verdicts of a study: an overview, then each claim with its rule and its verdicts.

    Args:
        judged: result of `claims.judge.judge`.
    """
    overview = [
        [
            claim["title"],
            in_words(claim["counts"]) or "–",
            in_words(claim["over_orders"]) or "–",
            effects(claim),
        ]
        for claim in judged["claims"]
    ]
    columns = ("claim", "verdicts", "of several orders or training runs", "effects")
    studies = ", ".join(judged["studies"]) or "no data"
    lines = [f"# Claims of {judged['paper']}, judged on {studies}", "", *table_lines(columns, overview)]
    if judged["finding"]:
        lines += ["", judged["finding"]]
    lines += [line for sentence in weights(judged["quantised"]) for line in ("", sentence)]
    if judged["control_arms"]:
        lines += ["", f"Control arms are not judged themselves: {', '.join(judged['control_arms'])}."]
    for claim in judged["claims"]:
        lines += ["", f"## {claim['title']}", "", f"{claim['text']} ({claim['source']})", ""]
        lines.append(f"Measured: {claim['measured']}")
        lines += ["", f"Effect: {claim['effect']}.", "", f"Rule: {claim['rule']}"]
        if "needs" in claim:
            lines += ["", f"**Not measured.** It would take {claim['needs']}."]
        if claim["verdicts"]:
            lines += ["", *table_lines(VERDICT_COLUMNS, map(_verdict, claim["verdicts"]), numbers=(3, 5, 7, 8))]
        lines += _measures(claim)
    lines += _comparisons(judged["comparisons"]) + _published(judged["published"])
    return "\n".join(lines) + "\n"


def weights(quantised: Mapping[str, str]) -> list[str]:
    """A sentence for each model whose weights were quantised before they became float32."""
    return [f"Weights of `{model}`: {note}." for model, note in quantised.items()]


def in_words(counts: dict[str, int]) -> str:
    """Counts as words: `15 supported, 2 negligible`."""
    return ", ".join(f"{number} {word}" for word, number in in_order(counts))


def in_order(counts: dict[str, int]) -> list[tuple[str, int]]:
    """Counts of statuses in their fixed order, which JSON does not keep."""
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
    """An interval as text: `0.91 to 0.97`, `exact` or `none`."""
    if row["low"] is None or row["high"] is None:
        return "none"
    if row["low"] == row["high"]:
        return "exact"
    return f"{number(row['low'])} to {number(row['high'])}"


def table_lines(columns: Iterable[str], rows: Iterable[Iterable[str]], numbers: Collection[int] = ()) -> list[str]:
    """Lines of a Markdown table.

    Args:
        columns: their headings.
        numbers: indices of the columns that hold numbers, which are aligned to the right.
    """
    columns = list(columns)
    head = "|" + "".join(f" {name} |" if name else " |" for name in columns)
    aligned = ["---:" if i in numbers else "---" for i in range(len(columns))]
    return [head, _row(aligned), *map(_row, rows)]


def _verdict(verdict: dict) -> list[str]:
    return [
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
    ]


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
    pairs = [
        (c["model"], c["first"], c["second"], number(c["effect"]), interval(c), number(c["p_adjusted"])) for c in sure
    ]
    columns = ("model", "first", "second", "S, first minus second", "95% interval", "adjusted p")
    return [*lines, "", *table_lines(columns, pairs, numbers=(3, 5))] if pairs else lines


def _published(rows: list[dict]) -> list[str]:
    """Published numbers beside ours; those without a comparable run are only counted."""
    compared = [row for row in rows if row["ours"] is not None]
    lines = ["", "## Published numbers beside ours", ""]
    lines.append(f"{len(compared)} of {len(rows)} published numbers were measured under their conditions.")
    cells = [
        (
            *(row[name] for name in ("source", "model", "editor", "quantity")),
            *(number(row[name]) for name in ("published", "ours", "difference", "tolerance")),
            row["status"],
        )
        for row in compared
    ]
    columns = ("source", "model", "editor", "quantity", "published", "ours", "difference", "tolerance", "")
    return [*lines, "", *table_lines(columns, cells, numbers=range(4, 8))] if cells else lines


def _measures(claim: dict) -> list[str]:
    """Measures that are reported beside the deciding ones."""
    rows = [
        (v["model"], v["editor"], v["where"] or "–", m["name"], number(m["effect"]), interval(m), f"{m['n']:,}")
        for v in claim["verdicts"]
        for m in v["measures"][1:]
    ]
    columns = ("model", "editor", "where", "measure", "effect", "95% interval", "n")
    return ["", "Beside it:", "", *table_lines(columns, rows, numbers=(4, 6))] if rows else []


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
