"""The closed forms against plain float64 solves, the identities among them, and systems without a solution."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from normgrowth.editors.locate.closed_forms import (
    NullSpaceCost,
    SecondMomentCost,
    UniformCost,
    least_change,
    rome_update,
)
from normgrowth.editors.locate.solving import UnsolvableError
from normgrowth.editors.moments import SecondMoment, null_space
from normgrowth.errors import ModelError

# At least twice as many inputs as keys: nearly dependent keys would test the rounding of float32 factors instead.
SHAPES = st.tuples(st.integers(2, 12), st.integers(8, 24), st.integers(1, 4), st.integers(0, 2**31))
WEIGHTS = st.floats(0.1, 1e4)


class Problem:
    """Keys K [d, b], residual R [o, b], past keys K_p [d, m], second moment C [d, d], all well conditioned."""

    def __init__(self, shape, past=None):
        o, d, b, seed = shape
        generator = torch.Generator().manual_seed(seed)

        def gaussian(*size):
            return torch.randn(*size, generator=generator, dtype=torch.float64)

        sample = gaussian(d, 6 * d)
        self.c = sample @ sample.T / (6 * d)
        self.k, self.r = gaussian(d, b), gaussian(o, b)
        self.past = gaussian(d, 3 if past is None else past)
        self.eye = torch.eye(d, dtype=torch.float64)

    def preserved(self, weight=1.0, ridge=0.0):
        return SecondMomentCost(SecondMoment(self.c, 100, 0), weight, ridge)


def dense(change):
    return change.left.double() @ change.right.double().T


def close(a, b, tolerance=1e-5):
    return (a - b).norm() <= tolerance * (1 + b.norm())


def property_test(examples, *strategies):
    return lambda test: settings(max_examples=examples, deadline=None, derandomize=True)(given(*strategies)(test))


@property_test(60, SHAPES)
def test_without_slack_keys_are_sent_to_their_values_by_the_direct_solve(shape):
    p = Problem(shape)
    delta = dense(least_change(p.k, p.r, p.preserved(), slack=0.0))
    assert close(delta @ p.k, p.r)
    inverse = torch.linalg.inv(p.c)
    assert close(delta, p.r @ torch.linalg.inv(p.k.T @ inverse @ p.k) @ p.k.T @ inverse)


@property_test(30, SHAPES, st.floats(1e-3, 1e3))
def test_without_slack_the_preservation_weight_does_not_matter(shape, weight):
    p = Problem(shape)
    assert close(
        dense(least_change(p.k, p.r, p.preserved(), 0.0)), dense(least_change(p.k, p.r, p.preserved(weight), 0.0))
    )


@property_test(30, SHAPES)
def test_without_slack_one_key_is_the_rank_one_update_of_r_rome(shape):
    o, d, _, seed = shape
    p = Problem((o, d, 1, seed))
    u = torch.linalg.solve(p.c, p.k[:, 0])
    u = u / u.norm()
    assert close(dense(least_change(p.k, p.r, p.preserved(), 0.0)), torch.outer(p.r[:, 0] / (p.k[:, 0] @ u), u))


@property_test(30, SHAPES, WEIGHTS, st.floats(0.01, 10.0))
def test_emmet_with_slack_is_memit_with_the_second_moment_scaled_by_it(shape, weight, slack):
    p = Problem(shape)
    emmet = dense(least_change(p.k, p.r, p.preserved(weight), slack))
    assert close(emmet, dense(least_change(p.k, p.r, p.preserved(slack * weight), 1.0)))


@property_test(60, SHAPES, WEIGHTS, st.floats(0.0, 50.0), st.integers(0, 40))
def test_least_squares_is_stationary_and_equals_the_direct_solve(shape, weight, ridge, past):
    """MEMIT (no ridge, no past keys) and ENCORE: fewer and more past keys than dimensions take different ways."""
    p = Problem(shape, past)
    delta = dense(least_change(p.k, p.r, p.preserved(weight, ridge), 1.0, p.past if past else None))
    protected = weight * p.c + ridge * p.eye + p.past @ p.past.T
    assert close(delta, p.r @ p.k.T @ torch.linalg.inv(protected + p.k @ p.k.T))
    gradient = delta @ protected + (delta @ p.k - p.r) @ p.k.T
    assert gradient.norm() <= 1e-5 * (p.r @ p.k.T).norm()


@property_test(60, SHAPES, st.floats(0.1, 20.0), st.floats(0.5, 1.2), st.integers(0, 40))
def test_alphaedit_stays_in_its_null_space_and_equals_both_published_forms(shape, ridge, threshold, past):
    p = Problem(shape, past)
    values, vectors = torch.linalg.eigh(p.c)
    # Between eigenvalues, so that rounding decides nothing.
    below = max(1, int((values < threshold * values.mean()).sum()))
    limit = (values[below - 1] + values[min(below, len(values) - 1)]).item() / 2 if below < len(values) else 1e9
    space = null_space(SecondMoment(p.c, 100, 0), limit)
    assert space.rank == below
    delta = dense(least_change(p.k, p.r, NullSpaceCost(space, ridge), 1.0, p.past if past else None))
    free = vectors[:, :below]  # U_0
    projector = free @ free.T
    assert close(delta @ projector, delta)
    assert (delta @ vectors[:, below:]).norm() <= 1e-5 * (1 + delta.norm())
    gram = p.k @ p.k.T + p.past @ p.past.T
    reduced = free @ torch.linalg.inv(free.T @ gram @ free + ridge * torch.eye(below, dtype=torch.float64)) @ free.T
    assert close(delta, p.r @ p.k.T @ reduced)
    published = torch.linalg.solve(projector @ gram + ridge * p.eye, projector @ p.k @ p.r.T).T
    assert close(delta, published)


@property_test(30, SHAPES)
def test_a_projector_is_the_same_by_either_side(shape):
    p = Problem(shape)
    moment = SecondMoment(p.c, 100, 0)
    values, vectors = torch.linalg.eigh(p.c)
    for below in {1, len(values) - 1}:
        space = null_space(moment, (values[below - 1] + values[below]).item() / 2)
        assert space.basis.shape[1] == 1  # the thin side
        assert close(space.project(p.k), vectors[:, :below] @ (vectors[:, :below].T @ p.k), 1e-10)


@property_test(30, SHAPES)
def test_rome_sends_the_bare_key_to_its_value_along_the_mean_key(shape):
    o, d, _, seed = shape
    p = Problem((o, d, 1, seed))
    bare = p.k + 0.1 * p.past[:, :1]
    delta = dense(rome_update(p.k, bare, p.r, p.preserved()))
    assert close(delta @ bare, p.r)
    u = torch.linalg.solve(p.c, p.k)
    assert close(delta, p.r @ u.T / (bare.T @ u))


def test_rome_and_r_rome_agree_where_the_keys_do():
    p = Problem((5, 9, 1, 7))
    assert close(dense(rome_update(p.k, p.k, p.r, p.preserved())), dense(least_change(p.k, p.r, p.preserved(), 0.0)))
    assert close(dense(least_change(p.k, p.r, UniformCost(), 0.0)), p.r @ p.k.T / (p.k.T @ p.k))


def test_least_squares_tends_to_the_equality_as_the_weight_vanishes():
    p = Problem((6, 12, 3, 1))
    small = dense(least_change(p.k, p.r, p.preserved(1e-7), 1.0))
    assert close(small, dense(least_change(p.k, p.r, p.preserved(), 0.0)), 1e-4)


def test_units_that_no_token_turned_on_cost_what_the_mean_unit_does():
    """ReLU leaves rows and columns of zeros in C; without past keys and with more of them than the width."""
    for n_past in (0, 30):
        problem = Problem((3, 10, 2, 1), past=n_past)
        dead = [2, 7]
        problem.c[dead] = problem.c[:, dead] = 0.0
        costs = problem.c.clone()
        costs[dead, dead] = problem.c.trace() / 10
        expected = torch.linalg.solve(2.0 * costs + problem.past @ problem.past.T, problem.k)
        assert torch.allclose(problem.preserved(weight=2.0).solve(problem.k, problem.past), expected, atol=1e-8)
        assert (problem.c[dead] == 0).all()


@property_test(30, SHAPES, st.floats(0, 1e-6))
def test_equal_keys_with_equal_values_are_written_as_one(shape, noise):
    """A fact given twice, and keys that differ by the rounding of forward passes."""
    o, d, b, seed = shape
    p = Problem(shape)
    twice, generator = [*range(b), 0], torch.Generator().manual_seed(seed)
    k = p.k[:, twice] * (1 + noise * torch.randn(d, b + 1, generator=generator, dtype=torch.float64))
    change = least_change(k.float(), p.r[:, twice], p.preserved(), 0.0)
    assert change.left.shape == (o, b + 1) and change.right.shape == (d, b + 1)
    assert close(dense(change), dense(least_change(p.k, p.r, p.preserved(), 0.0)), 1e-3)


@property_test(30, SHAPES)
def test_a_key_that_others_imply_is_left_out(shape):
    o, d, b, seed = shape
    p = Problem((o, d, max(b, 2), seed))
    k = torch.cat([p.k, p.k[:, :1] - 2 * p.k[:, 1:2]], dim=1)
    r = torch.cat([p.r, p.r[:, :1] - 2 * p.r[:, 1:2]], dim=1)
    delta = dense(least_change(k, r, p.preserved(), 0.0))
    assert close(delta @ k, r)
    assert close(delta, dense(least_change(p.k, p.r, p.preserved(), 0.0)))


def test_more_exact_constraints_than_dimensions_are_met_where_they_agree():
    p = Problem((3, 4, 9, 1))
    wanted = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    delta = dense(least_change(p.k, wanted @ p.k, p.preserved(), 0.0))
    assert close(delta, wanted)
    with pytest.raises(UnsolvableError, match="cannot send keys that depend on each other"):
        least_change(p.k, p.r, p.preserved(), 0.0)


@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_equal_keys_with_different_values_are_refused_without_slack_and_named(noise):
    p = Problem((5, 20, 3, 3))
    k = p.k[:, [0, 1, 2, 1]]
    k[:, 3] *= 1 + noise
    r = torch.cat([p.r, p.r[:, :1]], dim=1)
    with pytest.raises(
        UnsolvableError, match=r"different values exactly .* set slack above 0, or edit them in"
    ) as raised:
        least_change(k, r, p.preserved(), 0.0)
    assert raised.value.columns == [1, 3]
    # With slack they come to the mean of what they ask for, as EMMET's code has it.
    both = dense(least_change(k, r, p.preserved(), 1e-9)) @ k
    assert close(both[:, 1], (r[:, 1] + r[:, 3]) / 2, 1e-4)


def test_a_zero_key_is_refused_without_slack_and_named():
    p = Problem((5, 20, 3, 4))
    p.k[:, 2] = 0
    with pytest.raises(UnsolvableError, match="would divide by 0, which is rounding: its key is zero, or") as raised:
        least_change(p.k, p.r, p.preserved(), 0.0)
    assert raised.value.columns == [2]
    for one in (p.k[:, 2:], 0 * p.k[:, :1]):
        with pytest.raises(UnsolvableError, match="would divide by 0"):
            least_change(one, p.r[:, :1], p.preserved(), 0.0)
        with pytest.raises(UnsolvableError, match="would divide by 0"):
            rome_update(p.k[:, :1], one, p.r[:, :1], p.preserved())
    assert torch.isfinite(dense(least_change(p.k, p.r, p.preserved(), 1.0))).all()


def test_romes_denominator_may_be_small_but_not_rounding():
    p = Problem((5, 20, 1, 5))
    u = torch.linalg.solve(p.c, p.k)
    across = p.past[:, :1] - u * (u.T @ p.past[:, :1]) / (u.T @ u)  # at a right angle to the direction
    with pytest.raises(UnsolvableError, match="stands at a right angle to the direction of the update"):
        rome_update(p.k, across, p.r, p.preserved())
    # 10,000 times smaller than usual is what makes published ROME explode, and it is followed in that.
    nearly = across + 1e-4 * u / u.norm() * across.norm()
    delta = dense(rome_update(p.k, nearly, p.r, p.preserved()))
    assert close(delta @ nearly, p.r, 1e-3) and delta.norm() > 1e3 * (p.r.norm() / p.k.norm())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_keys_that_are_not_finite_are_refused(bad):
    p = Problem((5, 20, 3, 6))
    p.k[4, 1] = bad
    for slack in (0.0, 1.0):
        with pytest.raises(UnsolvableError, match="not finite"):
            least_change(p.k, p.r, p.preserved(), slack)
    p = Problem((5, 20, 3, 6), past=30)
    for past in (p.past, p.past[:, :3]):
        past[2, 1] = bad
        for preserved in (p.preserved(), NullSpaceCost(null_space(SecondMoment(p.c, 100, 0)), 1.0)):
            with pytest.raises(UnsolvableError, match="not finite"):
                least_change(p.k, p.r, preserved, 1.0, past)


def test_a_slack_that_vanishes_beside_the_keys_is_refused():
    """Equal keys in MEMIT's system, whose weight of what is preserved is too small for float64."""
    p = Problem((5, 20, 3, 7))
    with pytest.raises(UnsolvableError, match="system is not positive definite; raise the weight of what is preserved"):
        least_change(p.k[:, [0, 0, 1]], p.r, p.preserved(1e-25), 1.0)
    assert torch.isfinite(dense(least_change(p.k[:, [0, 0, 1]], p.r, p.preserved(1e-3), 1.0))).all()


def test_past_keys_that_drown_the_rest_are_refused():
    for past in (30, 4):
        p = Problem((5, 20, 3, 8), past=past)
        p.past[:] = p.past[:, :1] * 1e12
        with pytest.raises(UnsolvableError, match="set remember to nothing"):
            least_change(p.k, p.r, NullSpaceCost(null_space(SecondMoment(p.c, 100, 0)), 1e-3), 1.0, p.past)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_second_moment_that_is_not_finite_says_so(bad):
    p = Problem((5, 20, 3, 9))
    p.c[3, 3] = bad
    with pytest.raises(ModelError, match="the second moment of layer 0 is not finite"):
        p.preserved().solve(p.k, None)
    for threshold in (None, 0.1):
        with pytest.raises(ModelError, match="the second moment of layer 0 is not finite"):
            null_space(SecondMoment(p.c, 100, 0), threshold)


@property_test(60, SHAPES, st.floats(1e-12, 1e12), st.integers(0, 10))
def test_the_null_space_by_default_is_up_to_the_mean_eigenvalue_and_never_empty(shape, scale, equal):
    p = Problem(shape)
    values, vectors = torch.linalg.eigh(p.c)
    values[:equal] = values[0]
    moment = SecondMoment(scale * vectors @ torch.diag(values) @ vectors.T, 100, 0)
    space = null_space(moment)
    assert 1 <= space.rank <= len(values)
    assert space.rank == int((values <= values.mean()).sum())


@pytest.mark.parametrize("d", [1, 3, 20])
@pytest.mark.parametrize("scale", [0.1, 1 / 3, 7e5])
def test_directions_that_text_uses_alike_are_all_free_by_default(d, scale):
    assert null_space(SecondMoment(scale * torch.eye(d, dtype=torch.float64), 100, 0)).rank == d
    turned = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64, generator=torch.Generator().manual_seed(d))).Q
    assert null_space(SecondMoment(scale * turned @ turned.T, 100, 0)).rank == d


def test_a_threshold_with_nothing_below_it_names_layer_value_and_remedy():
    c = torch.diag(torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64))
    with pytest.raises(
        ModelError,
        match=r"null_space_threshold is 0\.5, and the second moment of layer 6 has no eigenvalue below it \(the least "
        r"is 0\.5, their mean 1\), so nothing may be changed there: raise null_space_threshold in the editor's "
        r"settings, or leave it out",
    ):
        null_space(SecondMoment(c, 100, 6), 0.5)
    assert null_space(SecondMoment(c, 100, 6), 0.51).rank == 1
