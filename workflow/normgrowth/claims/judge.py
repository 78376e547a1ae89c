"""Verdicts on all claims over the tables of one study, ready for JSON."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import pandas as pd

from normgrowth.analysis.edit_scores import Comparison, compare_editors
from normgrowth.analysis.intervals import CONFIDENCE, Interval
from normgrowth.claims.claim import ALL, Claim, EditingClaim, EditingEvidence, Evidence, TrainingClaim
from normgrowth.claims.finding import finding
from normgrowth.claims.paper_claims import CLAIMS
from normgrowth.claims.published import Conditions, against_published
from normgrowth.claims.verdict import Status, Verdict, corrected, counts
from normgrowth.editors.families import controlled_editor, family_of, is_control, kind_of
from normgrowth.layout import CLAIM_TABLES, INTERVENTIONS, UNEDITED


def judge(
    tables: dict[str, pd.DataFrame],
    seed: int = 0,
    conditions: Conditions = Conditions(),  # noqa: B008
    quantised: Mapping[str, str] | None = None,
) -> dict:
    """Verdicts on every claim for each model and editor, ready for JSON: NaN is None, floats have six digits.

    The paper's claims are about editing, so control arms count in none of them; they are evidence about the editors
    that they control.

    Args:
        tables: frames of `layout.CLAIM_TABLES`, and of `interventions` where there are any, under the schemas of
            `io.schemas`; frames may be empty.
        seed: seed of every resampling.
        conditions: conditions of the study, for the comparison with published numbers.
        quantised: by model, how its weights were quantised before they became float32, for readers of the verdicts.
    """
    tables = {name: frame[frame["editor"] != UNEDITED] for name, frame in tables.items()}
    runs = _runs(tables)
    models = sorted({model for model, _ in runs})
    studies = sorted({study for name in CLAIM_TABLES for study in tables[name]["study"].unique()})
    claims = judge_claims(tables, CLAIMS, seed)
    compared = [c for model in models for c in compare_editors(_of_model(tables["scores"], model), model, seed)]
    return {
        "studies": studies,
        "paper": "arXiv 2502.19416",
        "confidence": CONFIDENCE,
        "seed": seed,
        "quantised": dict(quantised or {}),
        "finding": finding(claims),
        "claims": claims,
        "comparisons": [_comparison(comparison) for comparison in compared],
        "published": [_rounded(row._asdict()) for row in against_published(tables, conditions)],
        "editors_without_family": sorted({editor for _, editor in runs if family_of(editor) is None}),
        "control_arms": sorted({editor for _, editor in runs if is_control(editor)}),
    }


def judge_claims(tables: dict[str, pd.DataFrame], claims: Iterable[Claim], seed: int = 0) -> list[dict]:
    """The verdicts on some claims, as `judge` gives them."""
    tables = {name: frame[frame["editor"] != UNEDITED] for name, frame in tables.items()}
    everything = {run: _evidence(tables, *run, seed) for run in _runs(tables)}
    evidence = [_with_arms(e, everything) for (_, editor), e in everything.items() if not is_control(editor)]
    of_models = [_all_editors(tables, model, seed) for model in sorted({model for model, _ in everything})]
    interventions = _interventions(tables)
    return [_judged(claim, evidence, of_models, interventions) for claim in claims]


def _runs(tables: dict[str, pd.DataFrame]) -> list[tuple[str, str]]:
    """Every model and editor of the tables."""
    named = (tables[name][["model", "editor"]].drop_duplicates() for name in CLAIM_TABLES)
    return sorted({run for frame in named for run in frame.itertuples(index=False, name=None)})


def _evidence(tables: dict[str, pd.DataFrame], model: str, editor: str, seed: int) -> EditingEvidence:
    return _from_tables(
        tables, model, editor, seed, lambda frame: frame[(frame["model"] == model) & (frame["editor"] == editor)]
    )


def _from_tables(
    tables: dict[str, pd.DataFrame],
    model: str,
    editor: str,
    seed: int,
    chosen: Callable[[pd.DataFrame], pd.DataFrame],
) -> EditingEvidence:
    """Evidence from the chosen rows of each table."""
    return EditingEvidence(
        model=model,
        editor=editor,
        norms=chosen(tables["norms"]),
        activations=chosen(tables["activations"]),
        subspaces=chosen(tables["subspaces"]),
        scores=chosen(tables["scores"]),
        downstream=chosen(tables["downstream"]),
        norm_direction=chosen(tables["norm_direction"]),
        seed=seed,
    )


def _with_arms(evidence: EditingEvidence, everything: dict[tuple[str, str], EditingEvidence]) -> EditingEvidence:
    arms = {
        kind_of(editor): arm
        for (model, editor), arm in everything.items()
        if model == evidence.model and controlled_editor(editor) == evidence.editor
    }
    return replace(evidence, arms=arms)


def _all_editors(tables: dict[str, pd.DataFrame], model: str, seed: int) -> EditingEvidence:
    """Evidence on all editors of a model together, control arms left out."""
    return _from_tables(tables, model, ALL, seed, lambda frame: _of_model(frame, model))


def _interventions(tables: dict[str, pd.DataFrame]) -> dict[str, list[Evidence]]:
    """Evidence by kind of intervention, where the study has any."""
    found: dict[str, list[Evidence]] = {}
    if INTERVENTIONS in tables:
        for (kind, model, name), rows in tables[INTERVENTIONS].groupby(["kind", "model", "editor"]):
            found.setdefault(kind, []).append(Evidence(model=model, editor=name, norms=rows))
    return found


def _of_model(frame: pd.DataFrame, model: str) -> pd.DataFrame:
    return frame[(frame["model"] == model) & ~frame["editor"].map(is_control).astype(bool)]


def _judged(
    claim: Claim,
    editors: list[EditingEvidence],
    models: list[EditingEvidence],
    interventions: dict[str, list[Evidence]],
) -> dict:
    """One claim's words, verdicts and their counts, as claims.json holds them."""
    found: list[tuple[Evidence, Verdict]] = []
    match claim:
        case TrainingClaim():
            found += [(e, claim.measure(e, claim.rule)) for e in interventions.get(claim.intervention, [])]
        case EditingClaim():
            chosen = models if claim.of_models else [e for e in editors if claim.concerns(e)]
            found += [(e, verdict) for e in chosen for verdict in _listed(claim.measure(e, claim.rule))]
    verdicts = [_verdict(e, verdict) for e, verdict in _corrected(found)]
    counted = counts([verdict["status"] for verdict in verdicts])
    judged = {
        "id": claim.id,
        "title": claim.title,
        "text": claim.text,
        "source": claim.source,
        "measured": claim.measured,
        "effect": claim.effect,
        "direction": claim.rule.direction,
        "rule": claim.decided,
        "margin": _short(claim.rule.margin),
        "counts": counted,
        "range": _range(verdicts),
        "over_orders": counts([v["status"] for v in verdicts if claim.of_orders and v["orders"] > 1]),
        "verdicts": verdicts,
    }
    if not set(counted) - {Status.NOT_MEASURED}:
        judged["needs"] = claim.needs
    return judged


def _listed(found: Verdict | list[Verdict]) -> list[Verdict]:
    return found if isinstance(found, list) else [found]


def _corrected(found: list[tuple[Evidence, Verdict]]) -> list[tuple[Evidence, Verdict]]:
    """The verdicts with p-values adjusted for the number of runs, place by place, in the same order."""
    result = list(found)
    for where in dict.fromkeys(verdict.where for _, verdict in found):
        places = [i for i, (_, verdict) in enumerate(found) if verdict.where == where]
        for i, verdict in zip(places, corrected([found[i][1] for i in places]), strict=True):
            result[i] = (found[i][0], verdict)
    return result


def _range(verdicts: list[dict]) -> dict | None:
    """Least and largest effect over the runs with finite numbers, and their unit; None without such runs."""
    sound = [
        v for v in verdicts if v["status"] not in (Status.COLLAPSED, Status.NOT_MEASURED) and v["effect"] is not None
    ]
    if not sound:
        return None
    values = [v["effect"] for v in sound]
    return {"low": min(values), "high": max(values), "unit": sound[0]["measures"][0]["unit"]}


def _comparison(comparison: Comparison) -> dict:
    values = {**comparison._asdict(), "difference": None}
    return {**_rounded(values), **_numbers(comparison.difference)}


def _rounded(values: dict) -> dict:
    return {name: _short(value) if isinstance(value, float) else value for name, value in values.items()}


def _verdict(evidence: Evidence, verdict: Verdict) -> dict:
    return {
        "model": evidence.model,
        "editor": evidence.editor,
        "where": verdict.where,
        "status": verdict.status.value,
        "reading": verdict.reading,
        "edits": verdict.edits,
        "orders": verdict.orders,
        "p": None if verdict.p is None else _short(verdict.p),
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
    # Six digits: enough for any reader, and few enough to hide rounding differences between machines.
    return float(f"{value:.6g}") if math.isfinite(value) else None
