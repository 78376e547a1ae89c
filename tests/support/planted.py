"""Tables of imagined runs with planted effects, in the shapes and under the schemas of real ones."""

from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from normgrowth.io.schemas import SCHEMAS
from normgrowth.io.tables import write_table
from normgrowth.training.norms import layer_of
from normgrowth.training.training_settings import KINDS

STUDY = "planted & small"
SITES = ("residual", "mlp_output", "attention_output", "mlp_key")
PROBES = (("facts", "subject_last", 60), ("facts", "last", 60), ("text", "all", 160), ("text", "mean", 40))
WINDOWS = 40
COMPONENTS = 5
WIDTH = 50
CHANCE = COMPONENTS / WIDTH
NAMES = {
    "gpt2": ("transformer.h.{}.mlp.c_proj.weight", "transformer.h.{}.attn.c_proj.weight"),
    "llama": ("model.layers.{}.mlp.down_proj.weight", "model.layers.{}.self_attn.o_proj.weight"),
}


@dataclass(frozen=True)
class Run:
    """One imagined chain per order. Rates are per edit; `collapse` is the step from which nothing is finite."""

    model: str = "tiny-gpt2"
    editor: str = "r_rome"
    edits: int = 60
    checkpoints: tuple[int, ...] = (20, 40, 60)
    orders: int = 1
    layers: tuple[int, ...] = (1,)
    n_layers: int = 6
    growth: float = 0.01
    noise: float = 0.004
    control_drift: float = 0.0
    norm_change: float = -0.004  # of activations' log norm
    spread: float = 0.05  # of activations' norm ratios over windows
    small_growth: float = 0.0  # of the mean of single vectors' norm ratios, beside that
    turn: float = 0.01  # of activations' angle, radians
    departure: float = 0.012  # of the way to a subspace that is independent of the unedited one
    shift: float = 0.0  # of the mean activation, in unedited spreads, out of the unedited subspace
    rotation: float = 0.8  # of the leading singular vectors, degrees
    loss: float = 0.004  # of ES and PS of facts, per edit made after them
    perplexity_growth: float = 0.01
    collapse: int | None = None
    cases: int = 60
    fading: float = 0.0  # of the success of each edit just after it is made, per edit made before
    norm_effect: float = 0.002  # of the norm on log perplexity, per edit
    direction_effect: float = 0.008  # of the direction
    interaction: float = 0.0  # of both together
    between: float = 0.02  # standard deviation of both effects between orders, on log perplexity
    post_norm: bool = False  # a norm stands behind the MLPs
    specificity: float | None = None  # share of other relations of edited subjects that stay; None: not asked about
    names: tuple[str, str] = field(default=NAMES["gpt2"])


def tables(*runs: Run, seed: int = 0) -> dict[str, pd.DataFrame]:
    """Every table of the workflow but speed and single edits, of all runs together."""
    rng = np.random.default_rng(seed)
    makers = {"norms": _norms, "edits": _edits, "activations": _activations, "scores": _scores}
    makers |= {"downstream": _downstream, "spectra": _spectra, "subspaces": _subspaces}
    makers |= {"coordinates": _coordinates, "cka": _cka, "norm_direction": _norm_direction}
    result = {}
    for name, maker in makers.items():
        parts = []
        for run in runs:
            for order in range(run.orders):
                frame = pd.DataFrame(maker(run, rng))
                identity = {"study": STUDY, "model": run.model, "editor": run.editor, "order": order}
                parts.append(frame.assign(**identity))
        schema = SCHEMAS[name]
        frame = pd.concat(parts) if any(map(len, parts)) else pd.DataFrame(columns=schema.names)
        result[name] = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False).to_pandas()
    return result


EFFECTS: dict[str, dict] = {
    "ft": {"growth": 0.012, "fading": 0.004},
    "ft_l": {"growth": 0.001, "noise": 0.0002, "loss": 0.01},
    "lora": {"growth": 0.006, "norm_change": 0.002},
    "mend": {"growth": 0.03, "fading": 0.012, "perplexity_growth": 0.08, "layers": (1, 2)},
    "malmen": {"growth": 0.004, "layers": (1, 2)},
    "rome": {"growth": 0.06, "collapse": 45, "fading": 0.015, "turn": 0.04},
    "r_rome": {"growth": 0.05, "fading": 0.01, "norm_change": 0.01, "perplexity_growth": 0.06, "turn": 0.03},
    "memit": {"growth": 0.012, "layers": (0, 1, 2)},
    "memit-history": {"growth": 0.009, "layers": (0, 1, 2)},
    "emmet": {"growth": 0.02, "layers": (0, 1, 2), "fading": 0.006},
    "pmet": {"growth": 0.015, "layers": (0, 1, 2), "loss": 0.008},
    "alphaedit": {"growth": 0.007, "layers": (0, 1, 2), "perplexity_growth": 0.002},
    "encore": {"growth": 0.005, "layers": (0, 1, 2)},
    "nas": {"growth": 0.0002, "noise": 0.0002, "norm_change": 0.0},
    "norm_restored-r_rome": {"growth": 0.0, "noise": 0.0, "fading": 0.004},
    "norm_restored-memit": {"growth": 0.0, "noise": 0.0, "layers": (0, 1, 2)},
    "scale_only-r_rome": {"growth": 0.05, "fading": 0.016, "norm_change": 0.01, "perplexity_growth": 0.03},
    "random_direction-r_rome": {"growth": 0.04, "fading": 0.016, "perplexity_growth": 0.07, "turn": 0.03},
}
"""Imagined effects of every editor and control arm of the default study."""


def every_editor(*models: str, **options) -> list[Run]:
    """One run of each editor of `EFFECTS` for each model; `options` are the same for all."""
    of_model = [{"model": model, "names": NAMES["llama" if "llama" in model else "gpt2"]} for model in models]
    return [Run(**{"editor": e, **effect, **options, **m}) for m in of_model for e, effect in EFFECTS.items()]


def single_edits(*runs: Run, facts: int = 20, seed: int = 0) -> pd.DataFrame:
    """Table single_edits of imagined runs."""
    rng, rows = np.random.default_rng(seed), []
    for run in runs:
        identity = {"study": STUDY, "model": run.model, "editor": run.editor, "order": 0, "step": 1}
        for case in range(facts):
            scored = _score(rng, 0.97, 0.9, run.specificity)
            rows.append({**identity, "case_id": case, **scored, "delta_frobenius": 2.0})
    schema = SCHEMAS["single_edits"]
    return pa.Table.from_pandas(pd.DataFrame(rows)[schema.names], schema=schema, preserve_index=False).to_pandas()


def interventions(*models: str, steps: int = 20, seed: int = 0, runs: int = 3) -> pd.DataFrame:
    """Table interventions of imagined trainings: `runs` of each kind for every model."""
    rng, rows = np.random.default_rng(seed), []
    names = [name.format(layer) for layer in range(3) for name in NAMES["gpt2"]] + ["transformer.wte.weight"]
    for model, kind, run in product(models, KINDS, range(runs)):
        for name in names:
            rate = rng.normal(0.002, 0.0005)
            for step in range(0, steps + 1, 5):
                ratio = np.exp(rate * step)
                identity = {"study": STUDY, "model": model, "editor": kind, "order": run, "step": step, "kind": kind}
                norms = {"frobenius": 9 * ratio, "frobenius_ratio": ratio, "drift_frobenius": 0.1 * step}
                rows.append({**identity, "matrix": name, "layer": layer_of(name), **norms})
    schema = SCHEMAS["interventions"]
    return pa.Table.from_pandas(pd.DataFrame(rows)[schema.names], schema=schema, preserve_index=False).to_pandas()


def write(folder: Path, frames: dict[str, pd.DataFrame]) -> Path:
    """Write tables as the workflow keeps them."""
    for name, frame in frames.items():
        write_table(folder / f"{name}.parquet", frame, name)
    return folder


def _collapsed(run: Run, step: int) -> bool:
    return run.collapse is not None and step >= run.collapse


def _norms(run: Run, rng: np.random.Generator) -> list[dict]:
    rows = []
    for kind, pattern in enumerate(run.names):
        for layer in range(run.n_layers):
            edited = kind == 0 and layer in run.layers
            increments = (
                rng.normal(run.growth, run.noise, run.edits) if edited else np.full(run.edits, run.control_drift)
            )
            log_ratio = np.concatenate([[0.0], np.cumsum(increments)])
            start = 9.0 + layer + kind
            for step in range(run.edits + 1):
                ratio = np.nan if edited and _collapsed(run, step) else np.exp(log_ratio[step])
                rows.append(
                    {
                        "step": step,
                        "matrix": pattern.format(layer),
                        "layer": layer,
                        "role": "edited" if edited else "control",
                        "frobenius": start * ratio,
                        "frobenius_ratio": ratio,
                        "delta_frobenius": 0.3 if edited and step else 0.0,
                        "drift_frobenius": abs(ratio - 1) * start,
                        "drift_cosine": 0.1 if edited and step else None,
                    }
                )
    return rows


def _edits(run: Run, rng: np.random.Generator) -> list[dict]:
    return [
        {
            "step": step,
            "case_id": 1000 + step,
            "batch": step,
            "search_steps": 20,
            "search_loss": 0.05,
            "target_norm": 30.0,
            "offset_norm": 8.0,
            "key_norm": 12.0,
            "residual_norm": 7.0,
            "immediate_efficacy": 1.0,
            "skipped_reason": None,
            "edit_seconds": 0.2 + 0.05 * rng.random(),
        }
        for step in range(1, run.edits + 1)
    ]


def _activations(run: Run, rng: np.random.Generator) -> list[dict]:
    rows = []
    for step in (0, *run.checkpoints):
        for site in SITES:
            for layer in range(run.n_layers):
                for probe, token, n in PROBES:
                    after = step > 0 and layer >= min(run.layers)
                    strength = (layer - min(run.layers) + 1) / run.n_layers if after else 0.0
                    ratio = np.exp(run.norm_change * step * strength + rng.normal(0, 0.003) * after)
                    cosine = np.cos(min(run.turn * step * strength, 3.0))
                    broken = _collapsed(run, step)
                    rows.append(
                        {
                            "step": step,
                            "layer": layer,
                            "site": site,
                            "probe": probe,
                            "token": token,
                            "n": n,
                            "units": WINDOWS if probe == "text" else n,
                            "norm_mean": np.nan if broken else 20 * ratio,
                            "norm_std": 2.0,
                            # A few vectors of small norm that grow: the mean of ratios rises where the norm does not.
                            "norm_ratio": np.nan if broken else ratio + run.small_growth * step,
                            "norm_ratio_std": run.spread * bool(step),
                            "ratio_of_norms": np.nan if broken else ratio,
                            "ratio_of_norms_std": run.spread * bool(step),
                            "cosine_to_unedited": np.nan if broken else cosine,
                            "cosine_std": 0.03 if step else 0.0,
                            "share_of_residual": None if site == "mlp_key" else 0.3,
                        }
                    )
    return rows


def _score(rng: np.random.Generator, efficacy: float, neighbours: float, specificity: float | None = None) -> dict:
    es = float(rng.random() < efficacy)
    ps, ns = rng.binomial(2, max(efficacy - 0.1, 0.0)) / 2, rng.binomial(10, neighbours) / 10
    return {"es": es, "ps": ps, "ns": ns, "em": 0.4, "pm": 0.3, "nm": 0.2, "ea": es, "pa": ps, "na": ns} | {
        "generation_match": es,
        "entropy": 4.5,
        **dict.fromkeys(("rs", "rm", "ra"), None if specificity is None else rng.binomial(4, specificity) / 4),
    }


def _scores(run: Run, rng: np.random.Generator) -> list[dict]:
    rows = []

    def add(step: int, moment: str, case: int, efficacy: float, neighbours: float) -> None:
        known = {"case_id": 1000 + case, "edited_at": None if moment == "unedited" else case}
        scored = _score(rng, np.clip(efficacy, 0, 1), neighbours, run.specificity)
        rows.append({"step": step, "moment": moment, **known, **scored})

    for step in (0, *run.checkpoints):
        for case in range(30):
            untouched = {"step": step, "moment": "untouched", "case_id": 5000 + case, "edited_at": None}
            rows.append({**untouched, **_score(rng, min(0.05 + 0.3 * run.loss * step, 1.0), 0.8)})
    for case in range(1, run.cases + 1):
        add(0, "unedited", case, 0.05, 0.9)
    for case in range(1, run.edits + 1):
        add(case, "immediate", case, 0.97 - run.fading * case, 0.8)
    for step in run.checkpoints:
        for case in range(1, min(step, run.cases) + 1):
            add(step, "retention", case, 0.97 - run.loss * (step - case), 0.75)
    return rows


def _downstream(run: Run, rng: np.random.Generator) -> list[dict]:
    rows = []
    for step in (0, *run.checkpoints):
        broken, change = _collapsed(run, step), run.perplexity_growth * step
        text = {"step": step, "task": "heldout_text", "n": 4000, "stderr": 0.02}
        spread = rng.normal(0, 0.06, WINDOWS) * bool(step)
        changes = np.full(WINDOWS, np.nan) if broken else change + spread - spread.mean()
        value = np.inf if broken else 12 * np.exp(changes.mean())
        rows.append({**text, "metric": "perplexity", "value": value})
        mean, error = changes.mean(), changes.std(ddof=1) / np.sqrt(WINDOWS)
        windows = {**text, "n": WINDOWS, "value": mean, "stderr": error, "by_window": changes.tolist()}
        rows.append({**windows, "metric": "log_perplexity_change"})
        rows.append({**text, "metric": "accuracy", "value": 0.5 * np.exp(-0.5 * change)})
        cloze = {"step": step, "task": "cloze", "n": 30}
        rows.append({**cloze, "metric": "accuracy", "value": 0.2 + 0.75 * np.exp(-change), "stderr": 0.05})
        rows.append({**cloze, "metric": "chance", "value": 0.2, "stderr": None})
        # A task of the harness, which no claim, figure or table of the report takes for the perplexity above.
        other = {"task": "lambada_openai", "metric": "perplexity,none", "value": 9e9, "stderr": 1.0, "n": 100}
        rows.append({"step": step, **other})
    return rows


def _norm_direction(run: Run, rng: np.random.Generator) -> list[dict]:
    """The corners: Y(W_0) + x N + y D + x y I, less half the interaction where only one of both is there."""
    rows: list[dict] = []
    for step in run.checkpoints:
        norm, direction = (step * e + rng.normal(0, run.between) for e in (run.norm_effect, run.direction_effect))
        both, windows = step * run.interaction, 2.5 + rng.normal(0, 0.2, WINDOWS)
        corners = {
            "unedited": 0.0,
            "norm": norm - both / 2,
            "direction": direction - both / 2,
            "edited": norm + direction,
        }
        at = {"step": step, "amount": None, "post_norm": run.post_norm}
        for arm, change in corners.items():
            loss = np.full(WINDOWS, np.nan) if _collapsed(run, step) else windows + change
            row = {**at, "arm": arm, "metric": "log_perplexity", "value": loss.mean(), "n": WINDOWS}
            rows.append({**row, "by_window": loss.tolist()})
            for metric in ("es", "ps", "ns", "cloze"):
                share = (arm in ("direction", "edited")) * 0.9
                rows.append({**at, "arm": arm, "metric": metric, "value": share, "n": 40, "by_window": None})
        sizes = {
            "norm_ratio": np.exp(run.growth * step),
            "drift_ratio": 1.0,
            "unedited_coefficient": 0.9,
            "output_gain": 1.5,
        }
        for metric, value in sizes.items():
            rows.append({**at, "arm": "edited", "metric": metric, "value": value, "n": 1, "by_window": None})
    return rows


def _spectra(run: Run, rng: np.random.Generator) -> list[dict]:
    rows = []
    for step in (0, *run.checkpoints):
        for kind, pattern in enumerate(run.names):
            for layer in range(run.n_layers):
                edited = kind == 0 and layer in run.layers and step > 0
                ratio = np.nan if edited and _collapsed(run, step) else np.exp(1.3 * run.growth * step * edited)
                turned = min(run.rotation * step, 88.0) * edited
                rows.append(
                    {
                        "step": step,
                        "matrix": pattern.format(layer),
                        "layer": layer,
                        "spectral_norm": 1.5 * ratio,
                        "stable_rank": 25 / ratio**0.5,
                        "singular_values": [1.5 * ratio / (1 + 0.1 * i) for i in range(8)],
                        "left_rotation": turned,
                        "right_rotation": 1.1 * turned,
                    }
                )
    return rows


def _places(run: Run):
    """Every checkpoint and place, and how far it is on its way from the unedited model."""
    for step in (0, *run.checkpoints):
        for site in SITES:
            for layer in range(run.n_layers):
                for probe, token, n in PROBES:
                    where = {"step": step, "site": site, "layer": layer, "probe": probe, "token": token, "n": n}
                    yield where, step * (layer >= min(run.layers))


def _subspaces(run: Run, rng: np.random.Generator) -> list[dict]:
    rows = []
    for where, moved in _places(run):
        broken, shift = _collapsed(run, where["step"]), run.shift * moved
        degree = np.nan if broken else min(run.departure * moved, 1.0)
        # A shift by s spreads, out of the subspace, divides every share about the unedited mean by 1 + s^2.
        uncentred = (1 - degree * (1 - CHANCE / 0.6)) / (1 + shift**2)
        rows.append(
            {
                **where,
                "units": WINDOWS if where["probe"] == "text" else where["n"],
                "width": WIDTH,
                "components": COMPONENTS,
                "explained_variance": 0.6 - degree * (0.6 - CHANCE),
                "explained_variance_unedited": 0.6,
                "explained_change": -degree * (0.6 - CHANCE),
                "explained_change_std": 0.06 if moved else 0.0,
                "explained_uncentred": 0.6 * uncentred,
                "departure": degree,
                "departure_std": 0.1 if moved else 0.0,
                "departure_uncentred": 0.6 * (1 - uncentred) / (0.6 - CHANCE),
                "departure_uncentred_std": 0.1 if moved else 0.0,
                "principal_angles": [min(0.4 * moved * (1 + i), 90.0) for i in range(COMPONENTS)],
                "centroid_shift": shift,
            }
        )
    return rows


def _coordinates(run: Run, rng: np.random.Generator) -> list[dict]:
    start, rows = rng.normal(0, 1, (WINDOWS, 2)), []
    for where, moved in _places(run):
        if where["site"] != "residual" or where["token"] != "mean":
            continue
        place = {name: value for name, value in where.items() if name != "n"}
        for number, (x, y) in enumerate(start):
            broken = np.nan if _collapsed(run, where["step"]) else 0.0
            shares = {"pc1_share": 0.4, "pc2_share": 0.2}
            at = {"pc1": x + 0.03 * moved + broken, "pc2": y * np.exp(-0.01 * moved) + broken}
            rows.append({**place, "number": number, **at, **shares})
    return rows


def _cka(run: Run, rng: np.random.Generator) -> list[dict]:
    rows = []
    for where, moved in _places(run):
        mapped = where["site"] == "residual" and where["token"] == "mean"
        for other in range(run.n_layers) if mapped else [where["layer"]]:
            alike = np.exp(-0.01 * moved - 0.2 * abs(other - where["layer"]))
            value = np.nan if _collapsed(run, where["step"]) else alike
            rows.append({**where, "unedited_layer": other, "cka": value})
    return rows
