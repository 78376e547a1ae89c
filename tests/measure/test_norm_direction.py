"""The model with altered weights, against weights altered by hand."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import plain
from normgrowth.measure import norm_direction
from normgrowth.measure.ability import read_text
from normgrowth.measure.material import Material
from normgrowth.measure.measure_settings import Measure
from normgrowth.measure.norm_direction import Pair, clipped, random_drift, rotated
from normgrowth.measure.point import Point
from tests.support import small_models

LAYERS = (0, 1)


@pytest.fixture
def edited(lm, tmp_path):
    """A point of a model whose matrices at two layers were changed, and its weights before and after."""
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(small_models.SENTENCES), encoding="utf-8")
    facts = small_models.facts()
    settings = Measure(text_window=8, perplexity_tokens=64, text_probes=8, untouched_facts=2, arms="all")
    projections = [lm.anatomy.down_projections[layer] for layer in LAYERS]
    before = [p.matrix.clone() for p in projections]
    generator = torch.Generator().manual_seed(0)
    for p in projections:
        p.matrix.add_(
            0.3 * p.matrix.norm() / p.matrix.numel() ** 0.5 * torch.randn(p.matrix.shape, generator=generator)
        )
        p.matrix.mul_(1.7)
    after = [p.matrix.clone() for p in projections]

    @contextlib.contextmanager
    def undone():
        for p, matrix in zip(projections, before, strict=True):
            p.matrix.copy_(matrix)
        yield
        for p, matrix in zip(projections, after, strict=True):
            p.matrix.copy_(matrix)

    point = Point(lm, Material(facts, facts, text, text, 0, settings), 3, projections, undone)
    return point, before, after


def value(rows, arm, metric="log_perplexity", amount=None):
    chosen = rows[(rows["arm"] == arm) & (rows["metric"] == metric)]
    if amount is not None:
        chosen = chosen[np.isclose(chosen["amount"].astype(float), amount)]
    (found,) = chosen["value"]
    return found


def loss_with(point, matrices):
    """Mean loss on the held-out windows with these matrices, by plain passes of single windows."""
    with norm_direction._with([Pair(p, p.matrix, p.matrix) for p in point.edited], matrices):
        losses = []
        for ids in point.text:
            logits = point.lm.model(ids[None]).logits[0, :-1].double()
            losses.append(-logits.log_softmax(-1).gather(1, ids[1:, None]).mean().item())
    return np.mean(losses)


def test_corners_are_the_four_models(edited):
    point, before, after = edited
    rows = norm_direction.measure(point)["norm_direction"]
    growth = [(a.double().norm() / b.double().norm()).item() for a, b in zip(after, before, strict=True)]
    assert value(rows, "unedited") == pytest.approx(loss_with(point, before), rel=1e-5)
    assert value(rows, "edited") == pytest.approx(loss_with(point, after), rel=1e-5)
    scaled = [g * b for g, b in zip(growth, before, strict=True)]
    assert value(rows, "norm") == pytest.approx(loss_with(point, scaled), rel=1e-5)
    shrunk = [a / g for g, a in zip(growth, after, strict=True)]
    assert value(rows, "direction") == pytest.approx(loss_with(point, shrunk), rel=1e-5)
    half = [a * g**-0.5 for g, a in zip(growth, after, strict=True)]
    assert value(rows, "dose", amount=0.5) == pytest.approx(loss_with(point, half), rel=1e-5)
    middle = [(a + b) / 2 for a, b in zip(after, before, strict=True)]
    assert value(rows, "path", amount=0.5) == pytest.approx(loss_with(point, middle), rel=1e-5)
    assert value(rows, "edited", "norm_ratio") == pytest.approx(np.exp(np.mean(np.log(growth))))
    facts = point.facts
    wins = [
        plain.loss_of(point.lm, f.question, f.target_new) < plain.loss_of(point.lm, f.question, f.target_true)
        for f in facts
    ]
    assert value(rows, "edited", "es") == pytest.approx(np.mean(wins))


def test_every_arm_leaves_the_weights_as_they_were(edited):
    point, _, _ = edited
    parameters = {name: p.clone() for name, p in point.lm.model.named_parameters()}
    rows = norm_direction.measure(point)["norm_direction"]
    assert set(rows["arm"]) == {*norm_direction.ARMS, "unedited", "norm", "direction", "edited"}
    assert all(torch.equal(p, parameters[name]) for name, p in point.lm.model.named_parameters())
    assert np.isfinite(rows["value"].astype(float)).all()


def test_outputs_put_back_at_both_parts_are_the_unedited_ones(edited):
    """The edited output with the unedited norm and direction is the unedited output: each arm puts back one of both."""
    point, _, _ = edited
    pairs = [Pair(p, b.double(), a.double()) for p, b, a in zip(point.edited, *edited[1:], strict=True)]
    vectors, others = torch.randn(2, 3, 5)
    mixed = norm_direction._with_norm_of(vectors, others)
    assert torch.allclose(mixed.norm(dim=-1), others.norm(dim=-1))
    assert torch.allclose(torch.cosine_similarity(mixed, vectors, dim=-1), torch.ones(3))
    with norm_direction._outputs(point, pairs, lambda now, before: before):
        row = norm_direction._of_text(read_text(point.lm, point.text).loss)
    rows = norm_direction.measure(point)["norm_direction"]
    assert row["value"] == pytest.approx(value(rows, "unedited"), rel=1e-5)


def test_silenced_layers_write_nothing(edited):
    point, _, _ = edited
    rows = norm_direction.measure(point)["norm_direction"]
    biases = [p.module.bias for p in point.edited if getattr(p.module, "bias", None) is not None]
    kept = [bias.clone() for bias in biases]
    for bias in biases:
        bias.zero_()
    wanted = loss_with(point, [torch.zeros_like(p.matrix) for p in point.edited])
    for bias, old in zip(biases, kept, strict=True):
        bias.copy_(old)
    assert value(rows, "ablated") == pytest.approx(wanted, rel=1e-5)


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(1)
    before = torch.randn(6, 9, generator=generator, dtype=torch.float64)
    left, right = (torch.randn(n, 2, generator=generator, dtype=torch.float64) for n in (6, 9))
    return Pair(
        small_models.language_model_of("gpt2").anatomy.down_projections[0], before, before + 0.4 * left @ right.T
    )


def test_a_rotation_keeps_norm_and_distance(pair):
    turned = rotated(pair)
    assert turned.norm() == pytest.approx(pair.before.norm())
    assert (turned - pair.before).norm() == pytest.approx((pair.after - pair.before).norm())
    basis = torch.linalg.qr(torch.stack([pair.before.flatten(), pair.after.flatten()], dim=1)).Q
    assert torch.allclose(basis @ (basis.T @ turned.flatten()), turned.flatten())  # in the plane of both


def test_scaling_alone_turns_nothing(pair):
    assert torch.equal(rotated(pair._replace(after=1.5 * pair.before)), pair.before)


def test_clipping_cuts_singular_values_alone(pair):
    pair = pair._replace(after=2 * pair.after)
    largest = torch.linalg.svdvals(pair.before)[0]
    assert torch.allclose(torch.linalg.svdvals(clipped(pair)), torch.linalg.svdvals(pair.after).clamp(max=largest))


def test_random_drift_has_the_singular_values_of_the_drift(pair):
    drift = random_drift(pair, 0) - pair.before
    wanted = torch.linalg.svdvals(pair.after - pair.before)
    assert torch.allclose(torch.linalg.svdvals(drift), wanted, atol=1e-10)
    assert not torch.allclose(drift, random_drift(pair, 1) - pair.before, atol=1e-3)


def test_none_and_primary_arms(edited):
    point, _, _ = edited

    def arms(wanted):
        material = replace(point.material, measure=point.material.measure.model_copy(update={"arms": wanted}))
        return set(norm_direction.measure(replace(point, material=material))["norm_direction"]["arm"])

    assert arms("none") == set()
    assert arms("primary") == {"unedited", "norm", "direction", "edited"}
    assert not len(norm_direction.measure(replace(point, edited=[]))["norm_direction"])
