"""MOSE: the rotation against numpy's Procrustes solution and random rotations; what it keeps, and what it refuses."""

import numpy as np
import pytest
import torch

from normgrowth.editors.base import Resources
from normgrowth.editors.locate.keys import at_subject
from normgrowth.editors.locate.method import Located
from normgrowth.editors.locate.rotation import RotationWriter, nearest_rotation, rotation
from normgrowth.editors.locate.solving import UnsolvableError
from normgrowth.editors.moments import SecondMoment
from normgrowth.editors.registry import declaration
from normgrowth.errors import EditError
from normgrowth.lm.hooks import changing
from tests.support import small_models
from tests.support.every_editor import settings_of


class Problem:
    """W [o, d], C [d, d], keys K [d, b], residuals R [o, b]."""

    def __init__(self, seed=0, o=6, d=10, b=3):
        generator = np.random.default_rng(seed)
        self.w, self.k, self.r = (generator.standard_normal(size) for size in ((o, d), (d, b), (o, b)))
        sample = generator.standard_normal((d, 8 * d))
        self.c = sample @ sample.T / (8 * d)

    def loss(self, turn, weight, values):
        moved = turn @ self.w - self.w
        return weight * np.trace(moved @ self.c @ moved.T) + np.square(turn @ self.w @ self.k - values).sum()

    def located(self, residual=None):
        matrix, keys, part = (
            torch.tensor(x).float() for x in (self.w, self.k, self.r if residual is None else residual)
        )
        return Located(3, matrix, keys, keys, part, None)

    def writer(self, weight, values="searched", relative=1.0):
        writer = RotationWriter(weight, relative, values)
        moments = {3: SecondMoment(torch.tensor(self.c), 100, 3)}
        writer.prepare(None, Resources({}, moments), (3,))
        return writer

    def turned(self, weight, values="searched", residual=None):
        """R W as the writer leaves it."""
        located = self.located(residual)
        return (located.matrix + self.writer(weight, values).change(located, {}).step).double().numpy()

    def of_mose(self, weight, values):
        tensors = (torch.tensor(x) for x in (self.w, self.c, self.k, values))
        return rotation(*tensors, weight).numpy()


def random_rotations(o, size, seed=1):
    """Rotations by angles of about `size`, by Cayley's formula."""
    generator = np.random.default_rng(seed)
    for _ in range(200):
        skew = np.triu(size * generator.standard_normal((o, o)), 1)
        skew -= skew.T
        yield np.linalg.solve(np.eye(o) + skew, np.eye(o) - skew)


@pytest.mark.parametrize("weight", [0.05, 1.0, 30.0])
@pytest.mark.parametrize("seed", range(4))
def test_no_other_rotation_has_a_smaller_loss(weight, seed):
    p = Problem(seed)
    values = p.w @ p.k + p.r
    turn = p.of_mose(weight, values)
    assert np.allclose(turn @ turn.T, np.eye(6), atol=1e-13)
    least = p.loss(turn, weight, values)
    for size in (1e-4, 1e-2, 1.0):
        assert all(p.loss(other @ turn, weight, values) > least for other in random_rotations(6, size))
    assert all(p.loss(other, weight, values) > least for other in random_rotations(6, 1.0))
    # The gradient along rotations is the skew part of (dloss/dR) Rᵀ.
    moved = turn @ p.w
    outward = weight * (moved - p.w) @ p.c @ p.w.T + (moved @ p.k - values) @ (p.w @ p.k).T
    along = outward @ turn.T
    assert np.abs(along - along.T).max() <= 1e-11 * np.abs(outward).max()


def test_it_is_the_procrustes_solution_for_stacked_keys_and_values():
    """Text as keys of its own, C = Σ k kᵀ / n, each weighed λ / n."""
    p = Problem(7)
    text = np.random.default_rng(3).standard_normal((10, 40))
    p.c = text @ text.T / 40
    values = p.w @ p.k + p.r
    root = np.sqrt(2.5 / 40)
    sent = np.hstack([root * p.w @ text, p.w @ p.k])
    wanted = np.hstack([root * p.w @ text, values])
    left, _, right = np.linalg.svd(wanted @ sent.T)
    assert np.allclose(p.of_mose(2.5, values), left @ right, atol=1e-12)


@pytest.mark.parametrize("values", ["searched", "length_matched"])
def test_every_singular_value_and_the_norm_stay_for_a_hundred_edits(values):
    p = Problem(1)
    before = np.linalg.svd(p.w, compute_uv=False)
    generator = np.random.default_rng(2)
    for _ in range(100):
        p.r = 3 * generator.standard_normal(p.r.shape)
        p.w = p.turned(0.5, values)
    assert np.allclose(np.linalg.svd(p.w, compute_uv=False), before, rtol=1e-5)
    assert np.linalg.norm(p.w) == pytest.approx(np.linalg.norm(before), rel=1e-6)


def test_without_a_residual_nothing_turns():
    p = Problem(2)
    for values in ("searched", "length_matched"):
        assert np.allclose(p.turned(1.0, values, 0 * p.r), p.w, atol=1e-6)
    assert np.allclose(p.of_mose(1.0, p.w @ p.k), np.eye(6), atol=1e-12)


def test_a_value_of_the_output_s_length_is_met_as_the_weight_vanishes():
    p = Problem(3, b=1)
    turned = p.turned(1e-7, "length_matched")
    value = p.w @ p.k + p.r
    value *= np.linalg.norm(p.w @ p.k) / np.linalg.norm(value)
    assert np.allclose(turned @ p.k, value, atol=1e-3)
    searched = p.turned(1e-7) @ p.k  # the direction is met, and the length cannot be
    assert np.allclose(searched, value, atol=1e-3)


def test_a_weight_left_out_is_in_proportion_to_the_outputs():
    p = Problem(4)
    given = p.writer(0.3 * 6).change(p.located(), {}).step
    assert torch.equal(p.writer(None, relative=0.3).change(p.located(), {}).step, given)


def test_outputs_that_do_not_span_their_space_are_refused():
    p = Problem(5)
    p.w[4:] = 0
    with pytest.raises(UnsolvableError, match=r"no single best rotation: .* span 4 of 6 dimensions; gather second"):
        p.turned(1.0)
    with pytest.raises(UnsolvableError, match="not finite"):
        nearest_rotation(torch.full((3, 3), torch.nan, dtype=torch.float64))


def test_in_a_model_it_turns_towards_the_value_and_keeps_the_norm():
    lm = small_models.language_model_of("llama")
    editor = declaration("mose").build(settings_of("mose"))
    editor.prepare(lm, small_models.resources(lm))
    memory = editor.begin(lm)
    matrix = lm.anatomy.down_projections[1].matrix
    spread, facts = torch.linalg.svdvals(matrix.double()), small_models.facts()[:2]
    wanted = editor.search(lm, memory, facts).values

    def left():
        return (wanted - at_subject(lm, facts, ["{}"], [editor.top])[editor.top][:, 0]).norm()

    before = left()
    trace = editor.edit(lm, memory, facts)
    assert trace.changes is None
    assert left() < 0.95 * before
    assert torch.allclose(torch.linalg.svdvals(matrix.double()), spread, rtol=1e-5)


def test_keys_that_break_down_name_layer_and_facts():
    lm = small_models.language_model_of("gpt2")
    editor = declaration("mose").build(settings_of("mose"))
    editor.prepare(lm, small_models.resources(lm))
    memory = editor.begin(lm)
    with (
        changing(lm.anatomy, (1, "mlp_key"), lambda keys: keys * torch.inf),
        pytest.raises(EditError, match="case 10"),
    ):
        editor.edit(lm, memory, small_models.facts()[:1])


def test_wrong_settings_are_refused():
    settings = declaration("mose").Settings
    for wrong in ({"values": "scaled"}, {"preservation_weight": 0}, {"remember": "after_edit"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            settings(**wrong)
