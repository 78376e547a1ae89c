"""From a study's results to one HTML file."""

import base64
import json
from pathlib import Path

import jinja2
import pandas as pd

from normgrowth.artefacts.atomic import write_text
from normgrowth.artefacts.damage import damaged
from normgrowth.artefacts.schemas import UNEDITED
from normgrowth.claims.judge import TABLES
from normgrowth.claims.markdown import effects, in_order, interval, number, probability
from normgrowth.claims.verdict import (
    COLLAPSED,
    NEGLIGIBLE,
    NOT_MEASURED,
    OPPOSITE,
    SUPPORTED,
    TOO_SHORT,
    UNDECIDED,
    count,
)
from normgrowth.errors import ArtefactError
from normgrowth.families import in_order as editors_in_order
from normgrowth.families import is_control
from normgrowth.figures.catalogue import FIGURES
from normgrowth.report.evidence import evidence_tables
from normgrowth.report.summaries import single_edits, summaries
from normgrowth.report.usage import usage_table
from normgrowth.results import read_results

SYMBOLS = {
    SUPPORTED: "✓",
    NEGLIGIBLE: "≈",
    OPPOSITE: "✗",
    UNDECIDED: "?",
    TOO_SHORT: "…",
    COLLAPSED: "∅",
    NOT_MEASURED: "–",
}
"""Verdicts are told by a sign and a word as well as by colour."""

MANY_VERDICTS = 8
"""Verdicts on a claim beyond which they are folded away."""


def write_report(results: Path, figures: list[str], out: Path, logs: Path | None = None) -> None:
    """Write the report of the study whose results are in `results`.

    Args:
        logs: folder of the workflow's logs, for what jobs used.
        results: folder with claims.json, provenance.json (may be absent), figures/<name>.svg and tables/*.parquet.
        figures: names of the catalogue, in the order they are shown.

    Raises:
        ArtefactError: when an input is missing or damaged, or the disk is full.
    """
    judged = read_json(results / "claims.json")
    provenance_path = results / "provenance.json"
    provenance = read_json(provenance_path) if provenance_path.exists() else {}
    tables = read_results(results / "tables", TABLES)
    used = usage_table(logs, results.name) if logs else None
    usage = [used] if used and used.rows else []
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "interval": interval, "effects": effects, "probability": probability}
    environment.filters |= {"in_order": in_order}
    environment.filters |= {"pretty": _pretty, "scalar": _scalar}
    page = environment.get_template("report.html.j2").render(
        study=study_name(judged, provenance),
        description=_text(provenance.get("study"), "description"),
        run=what_was_run(tables),
        judged=judged,
        many=MANY_VERDICTS,
        symbols=SYMBOLS,
        unmeasured=[claim for claim in judged["claims"] if "needs" in claim],
        figures=[embedded(results / "figures", name) for name in figures],
        tables=[*summaries(tables, single_edits(results / "tables")), *evidence_tables(judged), *usage],
        provenance=provenance,
    )
    write_text(out, page)


def read_json(path: Path) -> dict:
    """A JSON file of the workflow.

    Raises:
        ArtefactError: when it is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtefactError(f"{path} does not exist; the workflow makes it") from error
    except ValueError as error:
        raise damaged(path, error) from error


def embedded(folder: Path, name: str) -> dict:
    """Title, caption and picture of a figure; the picture as a data URI, whose ids cannot meet another's.

    Raises:
        ArtefactError: when the figure is unknown or was not drawn.
    """
    if name not in FIGURES:
        raise ArtefactError(f"figure {name!r} is unknown; known are {', '.join(sorted(FIGURES))}")
    path = folder / f"{name}.svg"
    try:
        encoded = base64.b64encode(path.read_bytes()).decode()
    except FileNotFoundError as error:
        raise ArtefactError(f"{path} does not exist; the workflow draws it") from error
    entry = FIGURES[name]
    picture = f"data:image/svg+xml;base64,{encoded}"
    return {"name": name, "title": entry.title, "caption": entry.caption, "picture": picture}


def study_name(judged: dict, provenance: dict) -> str:
    """The study's name, from its settings or else from its tables."""
    return _text(provenance.get("study"), "name") or ", ".join(judged["studies"]) or "no data"


def what_was_run(tables: dict[str, pd.DataFrame]) -> dict:
    """Models, editors, control arms, orders and edits that the tables hold, as short texts."""
    runs = tables["edits"] if len(tables["edits"]) else tables["norms"]
    runs = runs[runs["editor"] != UNEDITED]
    if runs.empty:
        return {"models": [], "editors": [], "arms": [], "length": "no edits"}
    editors = editors_in_order(runs["editor"].unique())
    longest = int(runs.groupby(["model", "editor", "order"])["step"].max().max())
    orders = runs.groupby(["model", "editor"])["order"].nunique()
    fewest = f"{orders.min()} to " if orders.min() < orders.max() else ""
    return {
        "models": sorted(runs["model"].unique()),
        "editors": [editor for editor in editors if not is_control(editor)],
        "arms": [editor for editor in editors if is_control(editor)],
        "length": f"{count(longest, 'edit')} in sequence, {fewest}{count(int(orders.max()), 'edit order')}",
    }


def _text(section: object, key: str) -> str:
    value = section.get(key) if isinstance(section, dict) else None
    return value if isinstance(value, str) else ""


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)


def _scalar(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return number(float(value)) if isinstance(value, float) else f"{value:,}"
