"""The first screen of the report: a sentence per finding with its numbers, and a matrix of editors by claims."""

from collections.abc import Sequence
from typing import NamedTuple

from normgrowth.claims.markdown import in_words
from normgrowth.claims.verdict import Status, count, counts
from normgrowth.editors.families import in_order

FINDINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Norms of edited matrices grow", ("fine_tuning_edits_grow", "hypernetwork_edits_grow", "locate_edits_grow")),
    ("General ability declines", ("general_ability_declines",)),
    ("Edited facts are lost again", ("editing_performance_declines",)),
    ("Activations turn", ("orientation_drifts",)),
    ("Activations shrink", ("activation_norm_falls",)),
    ("Activations move to another region", ("activations_leave_subspace",)),
)
"""Findings of the first screen beside that on norm and direction: words, and the claims that they count."""

COLUMNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("norm grows", FINDINGS[0][1]),
    ("norm rises call by call", ("norms_rise_edit_by_edit",)),
    ("only edited matrices grow", ("growth_is_localized",)),
    ("edited layers outgrow others", ("edited_layers_outgrow",)),
    ("activations shrink", ("activation_norm_falls",)),
    ("activations turn", ("orientation_drifts",)),
    ("activations move elsewhere", ("activations_leave_subspace",)),
    ("edited facts lost", ("editing_performance_declines",)),
    ("editing gets worse", ("editing_gets_worse",)),
    ("ability declines", ("general_ability_declines",)),
    ("norm breaks model", ("norm_breaks_model",)),
    ("direction breaks model", ("direction_breaks_model",)),
)
"""Columns of the matrix: heading, and the claims that an editor's verdict may stand under."""

UNITS = {"ratio": "×{:#.3g}", "points": "{:+.0f}", "share": "{:.0f}%", "cosine": "{:.2f}"}
"""Effects in a cell of the matrix, by unit; points and shares in hundredths."""

WORDS = {"points": "{} points", "share": "{} of the way", "cosine": "cosine {}"}
"""Formats of an effect in a sentence, by unit."""

HUNDREDTHS = ("points", "share")

MIXED = "mixed"
"""Class of a cell whose verdicts, at several places in the model, are not all the same."""


class Cell(NamedTuple):
    """Entry of the matrix for one editor and one claim."""

    text: str  # the effect, or of several places how many support the claim
    status: str  # a verdict, or `MIXED`
    told: str  # in words, for who points at it


class Row(NamedTuple):
    """An editor of a model, with a cell for each column, None where there is no verdict."""

    editor: str
    cells: list[Cell | None]


class Matrix(NamedTuple):
    """Editors by claims: headings, each with the claim that it leads to, and rows by model."""

    columns: list[tuple[str, str]]
    rows: dict[str, list[Row]]


def matrix(claims: Sequence[dict]) -> Matrix:
    """The matrix of all verdicts on editors; columns without any are left out.

    Args:
        claims: entries `claims` of the result of `claims.judge.judge`.
    """
    by_name = {claim["id"]: claim for claim in claims}
    columns: list[tuple[str, str]] = []
    found: dict[tuple[str, str], dict[str, tuple[dict, list[dict]]]] = {}  # by run, then by heading
    for heading, names in COLUMNS:
        judged = [by_name[name] for name in names if name in by_name and by_name[name]["verdicts"]]
        if not judged:
            continue
        columns.append((heading, judged[0]["id"]))
        for claim in judged:
            for verdict in claim["verdicts"]:
                run = found.setdefault((verdict["model"], verdict["editor"]), {})
                run.setdefault(heading, (claim, []))[1].append(verdict)
    rows: dict[str, list[Row]] = {}
    for model in sorted({model for model, _ in found}):
        for editor in in_order(editor for of, editor in found if of == model):
            cells = [found[model, editor].get(heading) for heading, _ in columns]
            rows.setdefault(model, []).append(Row(editor, [_cell(*cell) if cell else None for cell in cells]))
    return Matrix(columns, rows)


def findings(claims: Sequence[dict]) -> list[tuple[str, str]]:
    """Sentences on the most important claims, each as its lead and the rest; claims without verdicts are left out."""
    by_name = {claim["id"]: claim for claim in claims}
    told = []
    for lead, names in FINDINGS:
        judged = [by_name[name] for name in names if name in by_name]
        verdicts = [verdict for claim in judged for verdict in claim["verdicts"]]
        measured = [verdict for verdict in verdicts if verdict["effect"] is not None]
        if not measured:
            continue
        unit = next((_unit(claim) for claim in judged if _unit(claim)), "")
        supported = sum(verdict["status"] == Status.SUPPORTED for verdict in verdicts)
        runs = count(len({(verdict["model"], verdict["editor"]) for verdict in verdicts}), "run")
        of = f"{len(verdicts):,} places in {runs}" if verdicts[0]["where"] else runs
        ordered = sorted(measured, key=lambda verdict: verdict["effect"])
        least, most = (_told(verdict, unit) for verdict in (ordered[0], ordered[-1]))
        told.append((lead, f"in {supported:,} of {of}: from {least} to {most}."))
    return told


def _told(verdict: dict, unit: str) -> str:
    effect = WORDS.get(unit, "{}").format(_effect(verdict["effect"], unit))
    return f"{effect} ({verdict['editor']} on {verdict['model']})"


def _cell(claim: dict, verdicts: list[dict]) -> Cell:
    if len(verdicts) == 1 and not verdicts[0]["where"]:
        (verdict,) = verdicts
        known = verdict["effect"] is not None
        text = _effect(verdict["effect"], _unit(claim)) if known else "–"
        return Cell(text, verdict["status"], f"{claim['title']}: {verdict['status']}")
    found = counts([verdict["status"] for verdict in verdicts])
    status = next(iter(found)) if len(found) == 1 else MIXED
    told = f"{claim['title']}, places in the model: {in_words(found)}"
    return Cell(f"{found.get(Status.SUPPORTED, 0)} of {len(verdicts)}", status, told)


def _unit(claim: dict) -> str:
    """Unit of a claim's effects; none where no effect is finite."""
    return claim["range"]["unit"] if claim["range"] else ""


def _effect(value: float, unit: str) -> str:
    shown = UNITS.get(unit, "{:#.3g}").format(100 * value if unit in HUNDREDTHS else value)
    return "0" if shown in ("+0", "-0") else shown.rstrip(".").replace("-", "−")
