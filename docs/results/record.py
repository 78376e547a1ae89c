"""The numbers of a finished study, and what they were made by: small enough to keep beside the page that shows them."""

import json
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from normgrowth.analysis.collapse import EARLY, Collapse, collapses
from normgrowth.analysis.edit_scores import PARTS_OF_S, harmonic_mean
from normgrowth.analysis.explanations import rank_explanations
from normgrowth.analysis.places import PLACES, at_place, place_layer
from normgrowth.analysis.side_by_side import at_the_end, side_by_side
from normgrowth.editors.families import kind_of, with_wrapped
from normgrowth.editors.registry import EDITORS
from normgrowth.fingerprint import closure, numerics
from normgrowth.io.documents import read_json
from normgrowth.io.tables import read_results
from normgrowth.layout import CLAIM_TABLES, UNEDITED
from normgrowth.report.side_by_side import best_explanation
from normgrowth.report.summaries import more_columns
from normgrowth.study.plan import Plan
from normgrowth.study.study_files import read_study

SETTLED = 10
"""Edits from which the growth of a norm is fitted."""

FEWEST_STEPS = 5
"""Fewest steps for that fit."""

COMMANDS = ("world", "train", "contexts", "statistics", "null_spaces", "hypernetwork", "check_editable")
COMMANDS += ("intervene", "edit", "single_edits", "measure", "collect", "claims")
"""The commands whose code decides the numbers."""

SIDE_BY_SIDE = (
    "normgrowth.analysis.side_by_side",
    "normgrowth.analysis.explanations",
    "normgrowth.report.side_by_side",
)
"""Modules whose code decides what a record says of editors side by side; records from before do not name them."""

GRADED = ("dose", "path")
"""Arms of altered weights that are measured at several amounts, which are chosen; those of other arms differ by run."""

WITH_MEASURES = ("norm_alone_harms", "restoring_norm_protects", "norm_breaks_model", "direction_breaks_model")
"""Claims of which the page also shows what was measured beside them."""


def record(study: str, configfile: Path | None, config: list[str], results: Path = Path("results")) -> dict:
    """The numbers of the finished study `results`/`study`, and what they were made by.

    Args:
        configfile: the study's file, laid over config.yaml; None for the default study.
        config: values laid over both, as `key=value`.
    """
    folder = results / study
    settings = settings_of(configfile, config)
    tables = read_results(folder / "tables", {*CLAIM_TABLES, "spectra", *more_columns(folder / "tables")}, study)
    tables = {name: frame[frame["editor"] != UNEDITED] for name, frame in tables.items()}
    ends = at_the_end(side_by_side(tables))
    provenance, judged = read_json(folder / "provenance.json"), read_json(folder / "claims.json")
    return _rounded(
        {
            "study": study,
            "made_by": {
                "configfile": str(configfile) if configfile else None,
                "config": config,
                "settings": settings,
                "code": code(settings),
                "libraries": numerics(),
                "commit": _git("rev-parse", "--short=12", "HEAD"),
                "processor": _processor(),
            },
            "models": provenance["models"],
            "runs": [
                asdict(run)
                | {
                    "exponent": _exponent(_of_run(tables["norms"], run)),
                    "early": _early(_of_run(tables["scores"], run)),
                }
                for run in collapses(tables)
            ],
            "course": list(_course(tables)),
            "rotation": _rotation(tables["spectra"]),
            "altered": _altered(tables["norm_direction"]),
            "side_by_side": [_measured(row) for row in ends.to_dict("records")],
            "explanations": {model: best_explanation(rank_explanations(rows)) for model, rows in ends.groupby("model")},
            "finding": judged["finding"],
            "claims": {claim["id"]: _claim(claim) for claim in judged["claims"]},
        }
    )


def settings_of(configfile: Path | None, config: list[str]) -> dict:
    """Every setting of a study, those of its editors filled in."""
    return json.loads(Plan(read_study(configfile, config)).as_json)


def code(settings: dict, beside: tuple[str, ...] = SIDE_BY_SIDE) -> list[str]:
    """`module@hash` of all code that decides the numbers of a study with these settings.

    Args:
        beside: modules of this page's own numbers.
    """
    editors = {EDITORS[kind_of(name)] for editor in settings["editors"] for name in with_wrapped(editor)}
    return closure(*(f"normgrowth.commands.{name}" for name in COMMANDS), *sorted(editors), *beside)


def _of_run(frame: pd.DataFrame, run: Collapse) -> pd.DataFrame:
    return _rows_of(frame, {"model": run.model, "editor": run.editor, "order": run.order})


def _exponent(norms: pd.DataFrame) -> float:
    """Exponent b of norm growth, ratio^2 - 1 = a edits^b, of the edited matrices of one run from `SETTLED` edits on.

    By least squares on logarithms; ratios are geometric means over matrices. Steps of equal length at right angles to
    each other give 1, steps in one direction 2. NaN where the norm is ever no larger than the unedited one.
    """
    edited = norms[(norms["role"] == "edited") & (norms["step"] >= SETTLED)]
    ratios = np.exp(np.log(edited["frobenius_ratio"].astype(float)).groupby(edited["step"]).mean())
    if len(ratios) < FEWEST_STEPS or not (ratios > 1).all():
        return float("nan")
    return float(np.polyfit(np.log(ratios.index.to_numpy(dtype=float)), np.log(ratios**2 - 1), 1)[0])


def _early(scores: pd.DataFrame) -> list[float]:
    """ES, PS and NS of a run's first `EARLY` edits, each just after it."""
    immediate = scores[scores["moment"] == "immediate"].sort_values(["step", "case_id"], kind="stable")
    return [float(value) for value in immediate[PARTS_OF_S].iloc[:EARLY].mean()]


def _course(tables: dict[str, pd.DataFrame]) -> Iterator[dict]:
    """Numbers of each run at its checkpoints: one entry per model, editor, order and step."""
    keys = ["model", "editor", "order"]
    for run, norms in tables["norms"].groupby(keys):
        parts = {name: _rows_of(frame, dict(zip(keys, run, strict=True))) for name, frame in tables.items()}
        unedited = parts["downstream"].query("metric == 'perplexity' and step == 0")["value"].mean()
        for step in sorted(set(parts["activations"]["step"]) - {0}):
            edited = norms[(norms["role"] == "edited") & (norms["step"] == step)]
            perplexity = parts["downstream"].query("metric == 'perplexity' and step == @step")["value"].mean()
            yield {
                **dict(zip(keys, run, strict=True)),
                "step": int(step),
                "norm_ratio": float(np.exp(np.log(edited["frobenius_ratio"].astype(float)).mean())),
                "drift": float(np.sqrt((edited["drift_frobenius"] ** 2).sum() / _start(norms, edited))),
                "perplexity_ratio": float(perplexity / unedited),
                "places": _places(parts["activations"], norms, step),
                "scores": _scores(parts["scores"], step),
            }


def _start(norms: pd.DataFrame, edited: pd.DataFrame) -> float:
    """Sum of the squared norms of the edited matrices before any edit."""
    start = norms[(norms["step"] == 0) & norms["matrix"].isin(edited["matrix"])]
    return float((start["frobenius"] ** 2).sum())


def _places(activations: pd.DataFrame, norms: pd.DataFrame, step: int) -> dict[str, dict]:
    """Norm ratio and cosine to the unedited model at each place of `analysis.places`."""
    found = {}
    for place in PLACES:
        rows = at_place(activations, place, place_layer(place, activations, norms))
        rows = rows[rows["step"] == step]
        if len(rows):
            found[place.name] = {
                "norm_ratio": float(rows["ratio_of_norms"].iloc[0]),
                "cosine": float(rows["cosine_to_unedited"].iloc[0]),
            }
    return found


def _scores(scores: pd.DataFrame, step: int) -> dict[str, list[float]]:
    """ES, PS, NS and S by moment: those of a checkpoint, and those just after every edit so far."""
    parts = {
        moment: scores[(scores["moment"] == moment) & (scores["step"] == step)] for moment in ("retention", "final")
    }
    parts["immediate"] = scores[(scores["moment"] == "immediate") & (scores["step"] <= step)]
    means = {moment: part[PARTS_OF_S].mean().to_numpy() for moment, part in parts.items() if len(part)}
    return {moment: [*map(float, mean), float(harmonic_mean(mean))] for moment, mean in means.items()}


def _rotation(spectra: pd.DataFrame) -> list[dict]:
    """Angles in degrees by which leading right singular vectors of edited matrices have turned at the end of runs."""
    last = spectra[spectra["step"] == spectra.groupby(["model", "editor"])["step"].transform("max")]
    turned = last.groupby(["model", "editor"])["right_rotation"].max().reset_index()
    return turned.to_dict("records")


def _altered(norm_direction: pd.DataFrame) -> list[dict]:
    """Perplexity of the model with altered weights over that of the unedited one at the end of runs, by arm: geometric
    mean over edit orders."""
    last = norm_direction[
        norm_direction["step"] == norm_direction.groupby(["model", "editor"])["step"].transform("max")
    ]
    last = last[last["metric"] == "log_perplexity"]
    last = last.assign(amount=last["amount"].where(last["arm"].isin(GRADED), 0.0).astype(float))
    means = last.groupby(["model", "editor", "arm", "amount"])["value"].mean().reset_index()
    start = means[means["arm"] == "unedited"].set_index(["model", "editor"])["value"]
    over = means["value"] - start.reindex(pd.MultiIndex.from_frame(means[["model", "editor"]])).to_numpy()
    return means.assign(ratio=np.exp(over)).drop(columns="value").to_dict("records")


def _measured(row: dict) -> dict:
    """A row without what was not measured; infinite values stay."""
    return {name: value for name, value in row.items() if not pd.isna(value)}


def _claim(claim: dict) -> dict:
    """Title, counts and verdicts of a claim, and of `WITH_MEASURES` what was measured beside them."""
    kept = ("model", "editor", "status", "effect", "low", "high", "n", "orders", "p")
    verdicts = [
        {
            **{name: verdict[name] for name in kept},
            "measures": [
                {name: measure[name] for name in ("name", "effect", "low", "high")}
                for measure in verdict["measures"] * (claim["id"] in WITH_MEASURES)
            ],
        }
        for verdict in claim["verdicts"]
        if not verdict["where"]  # of single places the page shows no numbers
    ]
    overall = {name: claim[name] for name in ("title", "counts", "over_orders", "range")}
    return overall | {"verdicts": verdicts}


def _rows_of(frame: pd.DataFrame, run: dict) -> pd.DataFrame:
    return frame[np.logical_and.reduce([frame[name] == value for name, value in run.items()])]


def _rounded(value):
    """Numbers to six digits, so that the last bits of different libraries do not show; what is no number is None."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def _processor() -> str:
    """Name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
