"""Tables of the report as Markdown."""

from normgrowth.report.cells import Table


def as_markdown(tables: list[Table]) -> str:
    """Each table under its title and note; groups become a first column."""
    return "\n".join(line for table in tables for line in _lines(table)) or "No run has rows."


def _lines(table: Table) -> list[str]:
    grouped = any(table.groups)
    columns = ("family", *table.columns) if grouped else table.columns
    aligned = ["---"] * (table.labels + grouped) + ["---:"] * (len(table.columns) - table.labels)
    rows = [[*[name] * grouped, *(cell.text for cell in row)] for name, rows in table.groups.items() for row in rows]
    note = [table.note, ""] if table.note else []
    return [f"### {table.title}", "", *note, *map(_row, (columns, aligned, *rows)), ""]


def _row(cells) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
