"""The norm of the edited matrices, or their direction: the model with altered weights at a checkpoint.

For editors that add to a matrix W_0 the norm grows with the distance from it, so comparing editors cannot tell which of
the two does the damage. Here both are exchanged at one checkpoint. With g = ||W_t|| / ||W_0|| for every edited matrix,
the corners of a two by two are the unedited model, W_0 with the norm of W_t (g W_0), W_t with the norm of W_0
(W_t / g), and the edited model. Every other arm alters W_t or W_0 in one more respect; `ARMS` lists them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import NamedTuple

import pandas as pd
import torch

from normgrowth.lm.anatomy import Projection, frobenius
from normgrowth.lm.hooks import Place, changing, reading
from normgrowth.measure.ability import (
    cloze_of_edited,
    cloze_of_unedited,
    cloze_rows,
    items_of,
    losses_unedited,
    read_text,
    text_read,
)
from normgrowth.measure.point import Point
from normgrowth.measure.retention import scores_of_edited, scores_of_unedited
from normgrowth.measure.scores import score_facts
from normgrowth.seeds import derive

UNEDITED, NORM, DIRECTION, EDITED = "unedited", "norm", "direction", "edited"
"""Corners of the two by two: direction of W_0 or W_t, with the norm of W_0 or W_t."""

DOSES = (0.25, 0.5, 0.75)
"""Exponents rho of the arm W_t g^-rho between the edited model (0) and its direction alone (1)."""

PATH = (0.25, 0.5, 0.75)
"""Shares lambda of the change in the arm W_0 + lambda (W_t - W_0): 0 is the unedited model, 1 the edited one."""

ARMS = {
    "dose": "W_t g^-rho: less of the norm's growth",
    "path": "W_0 + lambda (W_t - W_0): less of the whole change",
    "gain": "W_0 scaled so that its outputs on text grow by as much as those of W_t",
    "output_norm": "W_t, each token's output brought to the length that W_0 would give it",
    "output_direction": "W_t, each token's output turned to the direction that W_0 would give it",
    "clipped": "W_t with singular values cut at the largest of W_0",
    "rotated": "W_0 turned towards W_t until it is as far from W_0 as W_t, at the norm of W_0",
    "random_drift": "W_0 and a change with the singular values of W_t - W_0, but random singular vectors",
    "ablated": "the MLPs of the edited layers silenced",
}
"""Arms beside the corners, of studies with `measure.arms: all`."""

TEXT_ROWS = 16
"""Windows of text on which the gain of outputs is measured."""


class Pair(NamedTuple):
    """An edited matrix [outputs, inputs] before and after the edits, in float64, with its projection."""

    projection: Projection
    before: torch.Tensor
    after: torch.Tensor

    @property
    def growth(self) -> float:
        """g = ||W_t|| / ||W_0||."""
        return frobenius(self.after) / frobenius(self.before)


def measure(point: Point) -> dict[str, pd.DataFrame]:
    """Table `norm_direction`: every arm's log perplexity by window, and how well it knows the edited facts.

    Corners also have PS and NS of the edited facts and the accuracy of the cloze. The unedited model alone, and a study
    with `measure.arms: none`, have no rows.
    """
    wanted, rows = point.material.measure.arms, list[dict]()
    if point.edited and wanted != "none":
        lm = point.lm
        after = [p.matrix.double().clone() for p in point.edited]
        with point.undone():
            before = [p.matrix.double().clone() for p in point.edited]
        pairs = [Pair(*triple) for triple in zip(point.edited, before, after, strict=True)]
        for arm in _corners(point, pairs):
            with arm.altered():
                rows += [arm.named | row for row in _outcomes(point, arm.name)]
        gains = _gains(point, pairs)
        rows += [{"arm": EDITED, "amount": None} | row for row in _sizes(pairs, gains)]
        for arm in _arms(point, pairs, gains) if wanted == "all" else ():
            with arm.altered():
                found = [_of_text(read_text(lm, point.text).loss), *_of_facts(_scored(point), "es")]
            rows += [arm.named | row for row in found]
    columns = ("arm", "amount", "metric", "value", "n", "by_window")
    post_norm = any(point.lm.post_norms[p.layer] is not None for p in point.edited)
    return {"norm_direction": pd.DataFrame(rows, columns=columns).assign(post_norm=post_norm)}


class Arm(NamedTuple):
    """A model with altered weights: its name, its amount where it has one, and the context that makes it."""

    name: str
    amount: float | None
    altered: Callable[[], AbstractContextManager[object]]

    @property
    def named(self) -> dict[str, object]:
        """The columns `arm` and `amount`."""
        return {"arm": self.name, "amount": self.amount}


def _corners(point: Point, pairs: Sequence[Pair]) -> Iterator[Arm]:
    """The two by two; biases are those of the model whose direction an arm has."""
    yield Arm(UNEDITED, None, point.undone)
    yield Arm(NORM, None, lambda: _unedited_with(point, pairs, [pair.before * pair.growth for pair in pairs]))
    yield Arm(DIRECTION, None, lambda: _with(pairs, [pair.after / pair.growth for pair in pairs]))
    yield Arm(EDITED, None, lambda: ExitStack())


def _arms(point: Point, pairs: Sequence[Pair], gains: Sequence[float]) -> Iterator[Arm]:
    """All arms beside the corners."""

    def weights(matrix_of: Callable[[Pair], torch.Tensor]) -> Callable[[], AbstractContextManager[None]]:
        return lambda: _with(pairs, [matrix_of(pair) for pair in pairs])

    for rho in DOSES:
        yield Arm("dose", rho, weights(partial(dosed, rho=rho)))
    for share in PATH:
        yield Arm("path", share, weights(partial(on_path, share=share)))
    scaled = [gain * pair.before for gain, pair in zip(gains, pairs, strict=True)]
    yield Arm("gain", _geometric_mean(gains), lambda: _unedited_with(point, pairs, scaled))
    yield Arm("output_norm", None, lambda: _outputs(point, pairs, _with_norm_of))
    yield Arm("output_direction", None, lambda: _outputs(point, pairs, lambda now, before: _with_norm_of(before, now)))
    yield Arm("clipped", None, weights(clipped))
    if all(frobenius(pair.after - pair.before) <= 2 * frobenius(pair.before) for pair in pairs):
        yield Arm("rotated", None, weights(rotated))
    seed = point.material.seed
    yield Arm("random_drift", None, weights(lambda pair: random_drift(pair, seed)))
    yield Arm("ablated", None, lambda: _silenced(pairs))


def dosed(pair: Pair, rho: float) -> torch.Tensor:
    """W_t g^-rho."""
    return pair.after * pair.growth**-rho


def on_path(pair: Pair, share: float) -> torch.Tensor:
    """W_0 + share (W_t - W_0)."""
    return torch.lerp(pair.before, pair.after, share)


def rotated(pair: Pair) -> torch.Tensor:
    """W_0 turned towards W_t: at the distance ||W_t - W_0|| from W_0, with the norm of W_0.

    R = cos(a) W_0 + sin(a) N with N orthogonal to W_0, of its norm and in the plane of W_0 and W_t; from
    ||R - W_0||^2 = 2 (1 - cos a) ||W_0||^2 follows cos a = 1 - d^2 / 2, d being the distance over ||W_0||. Defined for
    d up to 2; W_0 itself where W_t only scales it.
    """
    norm = frobenius(pair.before)
    distance = frobenius(pair.after - pair.before) / norm
    beside = pair.after - pair.before * ((pair.after * pair.before).sum() / norm**2)
    length = frobenius(beside)
    if length <= 1e-12 * frobenius(pair.after):
        return pair.before
    cosine = 1 - distance**2 / 2
    return cosine * pair.before + max(0.0, 1 - cosine**2) ** 0.5 * norm / length * beside


def clipped(pair: Pair) -> torch.Tensor:
    """W_t with every singular value cut at the largest singular value of W_0."""
    left, values, right = torch.linalg.svd(pair.after, full_matrices=False)
    return (left * values.clamp(max=torch.linalg.matrix_norm(pair.before, 2))) @ right


def random_drift(pair: Pair, seed: int) -> torch.Tensor:
    """W_0 and a change with the singular values of W_t - W_0 and random singular vectors, seeded by layer."""
    values = torch.linalg.svdvals(pair.after - pair.before)
    values = values[values > values[0] * 1e-12]  # a change of low rank has as many random directions
    generator = torch.Generator().manual_seed(derive(seed, "random drift", pair.projection.layer))

    def directions(width: int) -> torch.Tensor:
        drawn = torch.randn(width, len(values), generator=generator, dtype=torch.float64)
        return torch.linalg.qr(drawn.to(values.device)).Q

    outputs, inputs = pair.before.shape
    return pair.before + (directions(outputs) * values) @ directions(inputs).T


@contextmanager
def _with(pairs: Sequence[Pair], matrices: Sequence[torch.Tensor]) -> Iterator[None]:
    """The model with other matrices [outputs, inputs] for the edited ones inside the block."""
    kept = [pair.projection.matrix.clone() for pair in pairs]
    for pair, matrix in zip(pairs, matrices, strict=True):
        pair.projection.matrix.copy_(matrix)
    try:
        yield
    finally:
        for pair, matrix in zip(pairs, kept, strict=True):
            pair.projection.matrix.copy_(matrix)


@contextmanager
def _unedited_with(point: Point, pairs: Sequence[Pair], matrices: Sequence[torch.Tensor]) -> Iterator[None]:
    """The unedited model with other matrices for those that were edited inside the block."""
    with point.undone(), _with(pairs, matrices):
        yield


@contextmanager
def _silenced(pairs: Sequence[Pair]) -> Iterator[None]:
    """The model whose edited layers' MLPs write nothing inside the block."""
    parameters = [parameter for pair in pairs for parameter in pair.projection.parameters.values()]
    kept = [parameter.clone() for parameter in parameters]
    with torch.no_grad():
        for parameter in parameters:
            parameter.zero_()
        try:
            yield
        finally:
            for parameter, value in zip(parameters, kept, strict=True):
                parameter.copy_(value)


Mixture = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Outputs [..., width] made of the edited and the unedited projection's outputs for the same keys."""


@contextmanager
def _outputs(point: Point, pairs: Sequence[Pair], mixture: Mixture) -> Iterator[None]:
    """The edited model whose edited projections give a mixture of their outputs and the unedited ones."""
    with point.undone():
        biases = [pair.projection.parameters.get("bias") for pair in pairs]
        unedited = [None if bias is None else bias.clone() for bias in biases]
    anatomy = point.lm.anatomy
    with ExitStack() as stack:
        for pair, bias in zip(pairs, unedited, strict=True):
            layer = pair.projection.layer
            seen = stack.enter_context(reading(anatomy, [(layer, "mlp_key")]))
            mixed = _mixed(mixture, pair.before.float(), bias, seen, (layer, "mlp_key"))
            stack.enter_context(changing(anatomy, (layer, "mlp_output"), mixed))
        yield


def _mixed(
    mixture: Mixture, matrix: torch.Tensor, bias: torch.Tensor | None, seen: dict[Place, torch.Tensor], place: Place
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The mixture, as a function of the edited projection's output, for the keys last seen at a place."""

    def of_output(output: torch.Tensor) -> torch.Tensor:
        before = seen[place].float() @ matrix.T
        return mixture(output.float(), before if bias is None else before + bias).to(output.dtype)

    return of_output


def _with_norm_of(vectors: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Vectors [..., width] with the lengths of others [..., width]; zero vectors stay."""
    tiny = torch.finfo(vectors.dtype).tiny
    return vectors * (others.norm(dim=-1, keepdim=True) / vectors.norm(dim=-1, keepdim=True).clamp(min=tiny))


@torch.no_grad()
def _gains(point: Point, pairs: Sequence[Pair]) -> list[float]:
    """Mean length of W_t k over that of W_0 k, for the keys k of the unedited model on windows of text, by matrix."""
    lm = point.lm
    ids = point.material.probes(lm).text[:TEXT_ROWS].to(lm.device)
    places = [(pair.projection.layer, "mlp_key") for pair in pairs]
    with point.undone(), reading(lm.anatomy, places, stop=True) as seen:
        lm.hidden(ids, torch.ones_like(ids))
    gains = []
    for pair, place in zip(pairs, places, strict=True):
        keys = seen[place][:, 1:].flatten(0, 1).double()  # [tokens, inputs]; many models' first token is an outlier
        before, after = (keys @ matrix.T for matrix in (pair.before, pair.after))
        gains.append((after.norm(dim=1).mean() / before.norm(dim=1).mean()).item())
    return gains


def _outcomes(point: Point, corner: str) -> Iterator[dict]:
    """Rows of a corner, whose weights the model has; other measures know some of them already."""
    if corner == UNEDITED:
        losses, found, cloze = losses_unedited(point), scores_of_unedited(point), cloze_of_unedited(point)
    elif corner == EDITED:
        losses, found, cloze = text_read(point).loss, scores_of_edited(point), cloze_of_edited(point)
    else:
        losses, found = read_text(point.lm, point.text).loss, _scored(point)
        cloze = cloze_rows(point.lm, items_of(point))
    yield _of_text(losses)
    yield from _of_facts(found, "es", "ps", "ns", *(["rs"] if found["rs"].notna().any() else []))
    for row in cloze:
        if row["metric"] == "accuracy":
            yield {"metric": "cloze", "value": row["value"], "n": row["n"], "by_window": None}


def _scored(point: Point) -> pd.DataFrame:
    """Scores of the edited facts under the current weights."""
    return score_facts(point.lm, point.facts)


def _of_text(losses: torch.Tensor) -> dict:
    """The row of losses [windows] on held-out text."""
    return {
        "metric": "log_perplexity",
        "value": losses.mean().item(),
        "n": len(losses),
        "by_window": losses.tolist(),
    }


def _of_facts(found: pd.DataFrame, *scores: str) -> Iterator[dict]:
    for score in scores:
        yield {"metric": score, "value": found[score].mean(), "n": int(found[score].notna().sum()), "by_window": None}


def _sizes(pairs: Sequence[Pair], gains: Sequence[float]) -> Iterator[dict]:
    """Size of the change, by geometric mean over edited matrices; the coefficient by arithmetic mean."""
    drifts = [frobenius(pair.after - pair.before) / frobenius(pair.before) for pair in pairs]
    shares = [((pair.after * pair.before).sum() / pair.before.square().sum()).item() for pair in pairs]
    for metric, value in (
        ("norm_ratio", _geometric_mean([pair.growth for pair in pairs])),
        ("drift_ratio", _geometric_mean(drifts)),
        ("unedited_coefficient", sum(shares) / len(shares)),
        ("output_gain", _geometric_mean(gains)),
    ):
        yield {"metric": metric, "value": value, "n": len(pairs), "by_window": None}


def _geometric_mean(values: Sequence[float]) -> float:
    return torch.tensor(values, dtype=torch.float64).log().mean().exp().item()
