"""The closed forms against plain float64 solves, and the identities among them."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from normgrowth.editors.statistics import SecondMoment
from normgrowth.editors.updates import equality_constrained, regularised

# At least twice as many inputs as keys: nearly dependent keys would test the rounding of float32 factors instead.
SHAPES = st.tuples(st.integers(2, 12), st.integers(8, 24), st.integers(1, 4), st.integers(0, 2**31))


def problem(shape):
    """Keys [d, b], residual [o, b], second moment [d, d], all well conditioned."""
    o, d, b, seed = shape
    generator = torch.Generator().manual_seed(seed)
    sample = torch.randn(d, 6 * d, generator=generator, dtype=torch.float64)
    moment = SecondMoment(sample @ sample.T / (6 * d), 6 * d, 0)
    keys = torch.randn(d, b, generator=generator, dtype=torch.float64)
    residual = torch.randn(o, b, generator=generator, dtype=torch.float64)
    return keys, residual, moment


def dense(change):
    return (change.left.double() @ change.right.double().T).double()


def close(a, b, tolerance=1e-5):
    return (a - b).norm() <= tolerance * (1 + b.norm())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(SHAPES)
def test_equality_constrained_meets_its_constraint_and_the_direct_solve(shape):
    keys, residual, moment = problem(shape)
    delta = dense(equality_constrained(keys, residual, moment))
    assert close(delta @ keys, residual)
    inverse = torch.linalg.inv(moment.moment)
    direct = residual @ torch.linalg.inv(keys.T @ inverse @ keys) @ keys.T @ inverse
    assert close(delta, direct)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(SHAPES, st.floats(1e-3, 1e3))
def test_equality_constrained_does_not_depend_on_the_scale_of_the_second_moment(shape, scale):
    keys, residual, moment = problem(shape)
    scaled = SecondMoment(moment.moment * scale, moment.count, 0)
    assert close(
        dense(equality_constrained(keys, residual, moment)), dense(equality_constrained(keys, residual, scaled))
    )


def test_equality_constrained_with_one_key_is_the_rank_one_update_of_r_rome():
    keys, residual, moment = problem((5, 9, 1, 7))
    u = torch.linalg.solve(moment.moment, keys[:, 0])
    u = u / u.norm()
    expected = torch.outer(residual[:, 0] / (keys[:, 0] @ u), u)
    assert close(dense(equality_constrained(keys, residual, moment)), expected)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(SHAPES, st.floats(0.1, 1e4))
def test_regularised_is_stationary_and_equals_the_direct_solve(shape, weight):
    keys, residual, moment = problem(shape)
    delta = dense(regularised(keys, residual, moment, weight))
    protected = weight * moment.moment + keys @ keys.T
    assert close(delta, residual @ keys.T @ torch.linalg.inv(protected))
    gradient = weight * delta @ moment.moment + (delta @ keys - residual) @ keys.T
    assert gradient.norm() <= 1e-5 * (residual @ keys.T).norm()


def test_regularised_tends_to_the_equality_as_the_weight_vanishes():
    keys, residual, moment = problem((6, 12, 3, 1))
    assert close(
        dense(regularised(keys, residual, moment, 1e-7)), dense(equality_constrained(keys, residual, moment)), 1e-4
    )
