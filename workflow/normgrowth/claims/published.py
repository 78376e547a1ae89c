"""Published numbers beside ours, compared where a study meets the conditions of their measurement.

The numbers, their conditions and what counts as agreement are data: `published.yaml`.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import yaml

from normgrowth.analysis.edit_scores import PARTS_OF_S, final_scores, harmonic_mean
from normgrowth.editors.families import kind_of
from normgrowth.layout import UNEDITED

AGREES, DIFFERS, NOT_RUN = "agrees", "differs", "not run"

SCORES = ("es", "ps", "ns", "s")


class Conditions(NamedTuple):
    """Conditions that a study ran under, in the words that published numbers use."""

    facts: str | None = None  # the published set of facts
    models: dict[str, str] = {}  # noqa: RUF012 - published name by the study's name
    runs: dict[str, dict] = {}  # noqa: RUF012 - `batch`, and whether it `remembers` earlier edits, by model/editor


class Published(NamedTuple):
    """One published number and ours. `ours`, `difference` are None where the study did not measure it."""

    source: str
    model: str
    editor: str
    quantity: str
    published: float
    ours: float | None
    difference: float | None
    tolerance: float
    tolerance_from: str
    status: str
    note: str


def against_published(tables: dict[str, pd.DataFrame], conditions: Conditions) -> list[Published]:
    """Every published number, with ours where there is one, in the order of the file."""
    return [row for entry in _file()["rows"] for row in _rows(entry, tables, conditions)]


@cache
def _file() -> dict:
    return yaml.safe_load((Path(__file__).parent / "published.yaml").read_text(encoding="utf-8"))


class Quantity(NamedTuple):
    """A published number: its name, its value, and its kind, which sets the tolerance."""

    name: str
    value: float
    kind: str


def _rows(entry: dict, tables: dict[str, pd.DataFrame], conditions: Conditions) -> list[Published]:
    if "frobenius" in entry:
        ours, note = _frobenius(entry, tables["norms"], conditions)
        name = f"norm of the unedited down-projection, layer {entry['layer']}"
        return [_compared(entry, Quantity(name, entry["frobenius"], "norm"), ours, note)]
    measured, note = _scores(entry, tables["scores"], conditions)
    return [
        _compared(entry, Quantity(q.upper(), entry[q], "score"), measured.get(q), note) for q in SCORES if q in entry
    ]


def _compared(entry: dict, quantity: Quantity, ours: float | None, note: str) -> Published:
    source, tolerance = _file()["sources"][entry["source"]], _file()["tolerances"][quantity.kind]
    allowed = tolerance["value"] * (abs(quantity.value) if tolerance["unit"] == "relative" else 1.0)
    difference = None if ours is None else ours - quantity.value
    status = NOT_RUN if difference is None else AGREES if abs(difference) <= allowed else DIFFERS
    return Published(
        source=f"arXiv {source['arxiv']}, {entry['table']}",
        model=entry["model"],
        editor=entry.get("editor", UNEDITED),
        quantity=quantity.name,
        published=quantity.value,
        ours=ours,
        difference=difference,
        tolerance=allowed,
        tolerance_from=tolerance["why"],
        status=status,
        note=note,
    )


def _models(entry: dict, conditions: Conditions) -> list[str]:
    return [name for name, published in conditions.models.items() if published == entry["model"]]


def _frobenius(entry: dict, norms: pd.DataFrame, conditions: Conditions) -> tuple[float | None, str]:
    rows = norms[
        (norms["step"] == 0) & (norms["layer"] == entry["layer"]) & norms["model"].isin(_models(entry, conditions))
    ]
    rows = rows[rows["matrix"].str.contains("mlp")]
    if rows.empty:
        return None, f"needs {entry['model']}"
    return float(rows["frobenius"].iloc[0]), ""


def _scores(entry: dict, scores: pd.DataFrame, conditions: Conditions) -> tuple[dict[str, float], str]:
    """Our scores in percent under the published conditions, and a note on conditions that are not met."""
    wanted = _file()["conditions"][entry["source"]]
    remembers = entry["editor"] in wanted["remembering"]
    needs = f"{entry['model']}, {entry['editor']}, {wanted['edits']:,} edits of {wanted['facts']}"
    needs += f" in batches of {wanted['batch']}{' that remember earlier ones' if remembers else ''}"
    runs = {
        run
        for run, settings in conditions.runs.items()
        if run.split("/")[0] in _models(entry, conditions)
        and kind_of(run.split("/")[1]) == entry["editor"]
        and settings["batch"] == wanted["batch"]
        and settings["remembers"] == remembers
    }
    last = scores[scores["step"] == wanted["edits"]]
    last = final_scores(last[(last["model"] + "/" + last["editor"]).isin(runs)])
    if last.empty or conditions.facts != wanted["facts"]:
        return {}, f"needs {needs}"
    means = last[PARTS_OF_S].astype(float).mean()
    ours = {part: 100 * value for part, value in means.items()}
    return ours | {"s": float(100 * harmonic_mean(means.to_numpy()))}, ""
