"""The report page: a study's results in one HTML file."""

import json
from pathlib import Path

import jinja2
import pandas as pd

from normgrowth.analysis.edit_scores import has_specificity
from normgrowth.claims.markdown import effects, in_order, interval, number, probability
from normgrowth.claims.verdict import Status, count
from normgrowth.editors.families import in_order as editors_in_order
from normgrowth.editors.families import is_control
from normgrowth.errors import ArtefactError
from normgrowth.figures.catalogue import FIGURES
from normgrowth.io.documents import intact, read_json, write_text
from normgrowth.io.identity import AGAIN, figure_identity, require, svg_identity
from normgrowth.io.tables import read_results
from normgrowth.layout import CLAIM_TABLES, UNEDITED
from normgrowth.report.overview import findings, matrix
from normgrowth.report.pictures import as_uri
from normgrowth.report.summaries import evidence_tables, more_columns, optional_tables, summaries
from normgrowth.report.usage import usage_table

SYMBOLS = {
    Status.SUPPORTED: "✓",
    Status.PARTIAL: "◐",
    Status.NEGLIGIBLE: "≈",
    Status.OPPOSITE: "✗",
    Status.UNDECIDED: "?",
    Status.TOO_SHORT: "…",
    Status.COLLAPSED: "∅",
    Status.NOT_MEASURED: "–",
}
"""Signs of verdicts, which are shown by sign and word as well as by colour."""

MANY_VERDICTS = 8
"""Number of verdicts on a claim beyond which they are folded."""


def write_report(study: str, results: Path, figures: list[str], out: Path, logs: Path | None = None) -> None:
    """Write the report of a study whose results are in `results`.

    Args:
        logs: folder of the workflow's logs, for time and memory of jobs.
        results: folder with claims.json, provenance.json (may be absent), figures/<name>.svg and tables/*.parquet.
        figures: names of the catalogue, in the order they are shown.

    Raises:
        ArtefactError: when an input is missing, damaged or of another study, or the disk is full.
    """
    judged, provenance = _judged(results / "claims.json", study), _provenance(results / "provenance.json", study)
    tables = read_results(results / "tables", [*CLAIM_TABLES, *more_columns(results / "tables")], study)
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
    environment.filters |= {"pretty": _pretty, "scalar": _scalar, "pairs": _pairs}
    page = environment.get_template("report.html.j2").render(
        study=study,
        description=_text(provenance.get("study"), "description"),
        run=what_was_run(tables),
        judged=judged,
        findings=findings(judged["claims"]),
        matrix=matrix(judged["claims"]),
        many=MANY_VERDICTS,
        symbols=SYMBOLS,
        specificity=has_specificity(tables["scores"]),
        unmeasured=[claim for claim in judged["claims"] if "needs" in claim],
        figures=[embedded(results / "figures", name, study) for name in figures],
        tables=[*summaries(tables, *optional_tables(results / "tables", study)), *evidence_tables(judged), *usage],
        provenance=provenance,
    )
    write_text(out, page)


def embedded(folder: Path, name: str, study: str) -> dict:
    """Title, caption and picture of a figure; the picture as a data URI.

    Raises:
        ArtefactError: when the figure is unknown, was not drawn, is damaged or is of another study.
    """
    if name not in FIGURES:
        raise ArtefactError(f"figure {name!r} is unknown; known are {', '.join(sorted(FIGURES))}")
    path = folder / f"{name}.svg"
    drawn = intact(path).read_bytes()
    require(path, {"figure": svg_identity(drawn)}, {"figure": figure_identity(name, study)})
    entry = FIGURES[name]
    return {"name": name, "title": entry.title, "caption": entry.caption, "picture": as_uri(drawn)}


def _judged(path: Path, study: str) -> dict:
    """The verdicts of a study, which may be none."""
    judged = read_json(path)
    if not isinstance(judged, dict) or "studies" not in judged:
        raise ArtefactError(f"{path} holds no verdicts; {AGAIN}")
    require(path, {"studies": judged["studies"] or [study]}, {"studies": [study]})
    return judged


def _provenance(path: Path, study: str) -> dict:
    """Provenance of a study's results; empty where it was not recorded."""
    if not path.exists():
        return {}
    provenance = read_json(path)
    if not isinstance(provenance, dict) or not isinstance(provenance.get("study"), dict):
        raise ArtefactError(f"{path} says nothing of a study; {AGAIN}")
    require(path, provenance["study"], {"study": study})
    return provenance


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


def _pairs(value: dict, above: str = "") -> list[tuple[str, str]]:
    """Names and values of nested dictionaries: `training.layers`, `6`."""
    found = []
    for name, inner in value.items():
        if isinstance(inner, dict):
            found += _pairs(inner, f"{above}{name}.")
        else:
            found.append(
                (f"{above}{name}", ", ".join(map(_scalar, inner)) if isinstance(inner, list) else _scalar(inner))
            )
    return found


def _scalar(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return number(float(value)) if isinstance(value, float) else f"{value:,}"
