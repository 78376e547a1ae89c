"""All claims over the tables of one study."""

import math

import pandas as pd

from normgrowth.artefacts.schemas import UNEDITED
from normgrowth.claims.catalogue import CLAIMS, Claim
from normgrowth.claims.verdict import NOT_MEASURED, Evidence, Verdict, overall
from normgrowth.families import family_of, is_control
from normgrowth.inference import CONFIDENCE, Interval

TABLES = ("norms", "edits", "activations", "scores", "downstream")
"""The tables that claims are judged from; `edits` says which runs there are."""


def judge(tables: dict[str, pd.DataFrame], seed: int = 0) -> dict:
    """The verdict on every claim for each model and editor, ready for JSON: NaN is None, floats have six digits.

    The paper's claims are about editing, so control arms count in none of them.

    Args:
        tables: frames of `TABLES` under the schemas of `artefacts.schemas`; frames may be empty.
        seed: of every resampling.
    """
    runs = sorted(
        {
            (model, editor)
            for name in TABLES
            for model, editor in tables[name][["model", "editor"]].drop_duplicates().itertuples(index=False)
            if editor != UNEDITED
        }
    )
    evidence = [_evidence(tables, model, editor, seed) for model, editor in runs if not is_control(editor)]
    studies = sorted({study for name in TABLES for study in tables[name]["study"].unique()})
    return {
        "studies": studies,
        "paper": "arXiv 2502.19416",
        "confidence": CONFIDENCE,
        "seed": seed,
        "claims": [_judged(claim, evidence) for claim in CLAIMS],
        "editors_without_family": sorted({editor for _, editor in runs if family_of(editor) is None}),
        "control_arms": sorted({editor for _, editor in runs if is_control(editor)}),
    }


def _evidence(tables: dict[str, pd.DataFrame], model: str, editor: str, seed: int) -> Evidence:
    def rows(name: str) -> pd.DataFrame:
        frame = tables[name]
        return frame[(frame["model"] == model) & (frame["editor"] == editor)]

    return Evidence(model, editor, rows("norms"), rows("activations"), rows("scores"), rows("downstream"), seed)


def _judged(claim: Claim, evidence: list[Evidence]) -> dict:
    verdicts = []
    if claim.measure is not None:
        chosen = [e for e in evidence if claim.family is None or family_of(e.editor) == claim.family]
        verdicts = [_verdict(e, claim.measure(e, claim.margin)) for e in chosen]
    statuses = [verdict["status"] for verdict in verdicts]
    status = overall(statuses)
    judged = {
        "id": claim.id,
        "title": claim.title,
        "text": claim.text,
        "source": claim.source,
        "measured": claim.measured,
        "direction": claim.direction,
        "rule": claim.rule,
        "margin": claim.margin,
        "status": status,
        "counts": {word: statuses.count(word) for word in sorted(set(statuses))},
        "verdicts": verdicts,
    }
    if status == NOT_MEASURED:
        judged["needs"] = claim.needs or "rows for this claim in the study's tables"
    return judged


def _verdict(evidence: Evidence, verdict: Verdict) -> dict:
    return {
        "model": evidence.model,
        "editor": evidence.editor,
        "status": verdict.status,
        "reading": verdict.reading,
        "edits": verdict.edits,
        "orders": verdict.orders,
        **_numbers(verdict.effect),
        "measures": [
            {"name": m.name, "unit": m.unit, "no_effect": m.no_effect, **_numbers(m.interval)} for m in verdict.measures
        ],
    }


def _numbers(interval: Interval) -> dict:
    return {
        "effect": _short(interval.estimate),
        "low": _short(interval.low),
        "high": _short(interval.high),
        "n": interval.n,
    }


def _short(value: float) -> float | None:
    # Six digits: enough for any reader, few enough that the last bits of different machines' libraries do not show.
    return float(f"{value:.6g}") if math.isfinite(value) else None
