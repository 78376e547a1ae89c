"""Dominant directions and damped steps against numpy in float64, written anew."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from normgrowth.editors.base import Change, DenseChange
from normgrowth.editors.remedies.subspaces import dominant_directions, dominant_rows

SHAPES = st.tuples(st.integers(2, 10), st.integers(2, 20), st.integers(1, 4), st.integers(0, 2**31))
SHARES = st.floats(0.05, 0.95)


def property_test(*strategies):
    return lambda test: settings(max_examples=60, deadline=None, derandomize=True)(given(*strategies)(test))


def problem(shape):
    """A matrix W [o, d], and a step L Rᵀ of it of rank b."""
    o, d, b, seed = shape
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(o, d)) * np.exp(rng.normal(size=(o, 1)))  # rows of different lengths
    return w, rng.normal(size=(o, b)), rng.normal(size=(d, b))


def tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array))


def damped(damping, left, right):
    """The damped step by both ways, through factors and as a whole, which must agree."""
    change = damping.of(Change(tensor(left), tensor(right)))
    whole = damping.of(DenseChange(tensor(left @ right.T)))
    step = (change.left.double() @ change.right.double().T).numpy()
    assert change.left.dtype == change.right.dtype == whole.step.dtype == torch.float32
    assert np.allclose(step, whole.step.numpy(), atol=1e-4)
    assert np.allclose(left @ right.T - damping.taken_off(tensor(left @ right.T)).numpy(), step, atol=1e-4)
    return step


@property_test(SHAPES, SHARES, st.sampled_from(["singular_values", "squares"]))
def test_the_dominant_directions_of_a_matrix_stay_untouched(shape, share, energy):
    """Δ' v_i = 0 and u_iᵀ Δ' = 0 for the fewest directions that hold the share; all else of Δ stays."""
    w, left, right = problem(shape)
    u, s, vt = np.linalg.svd(w, full_matrices=False)
    parts = s if energy == "singular_values" else s**2
    k = next(k for k in range(1, len(s) + 1) if parts[:k].sum() >= share * parts.sum())
    damping = dominant_directions(tensor(w), share, energy)
    assert damping.outputs.shape == (len(w), k) and damping.keys.shape == (w.shape[1], k)
    step = damped(damping, left, right)
    assert np.abs(step @ vt[:k].T).max() < 1e-5 and np.abs(u[:, :k].T @ step).max() < 1e-5
    free_left, free_right = np.eye(len(w)) - u[:, :k] @ u[:, :k].T, np.eye(w.shape[1]) - vt[:k].T @ vt[:k]
    assert np.allclose(step, free_left @ left @ right.T @ free_right, atol=1e-4)


@property_test(SHAPES, SHARES, st.floats(0, 1))
def test_the_shared_directions_of_rows_are_those_of_the_eigenproblem(shape, share, strength):
    """The published way, by the eigenvectors of Ŵᵀ Ŵ / o [d, d], and ours span one space."""
    w, left, right = problem(shape)
    rows = w / np.linalg.norm(w, axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(rows.T @ rows / len(w))
    values, vectors = values[::-1], vectors[:, ::-1]
    r = min(int((np.cumsum(values) / values.sum() <= share).sum()) + 1, *w.shape)
    space = vectors[:, :r] @ vectors[:, :r].T
    damping = dominant_rows(tensor(w), share, strength)
    assert np.allclose((damping.keys @ damping.keys.T).numpy(), space, atol=1e-7)
    step = damped(damping, left, right)
    assert np.allclose(step, left @ right.T @ (np.eye(w.shape[1]) - strength * space), atol=1e-4)


def test_planted_directions_are_found_on_their_own_sides():
    """W = 9 e_0 f_1ᵀ + e_1 f_2ᵀ: steps lose what touches output 0 or key 1, and nothing else."""
    w = np.zeros((3, 5))
    w[0, 1], w[1, 2] = 9.0, 1.0
    damping = dominant_directions(tensor(w), 0.5, "singular_values")
    step = damping.of(DenseChange(torch.ones(3, 5))).step
    wanted = torch.ones(3, 5)
    wanted[0], wanted[:, 1] = 0, 0
    assert torch.allclose(step, wanted)
    rows = np.array([[5.0, 0, 0], [7.0, 0, 0], [0, 0, 0.1]])  # two rows share a direction, however long they are
    step = dominant_rows(tensor(rows), 0.1, 0.8).of(DenseChange(torch.ones(3, 3))).step
    assert torch.allclose(step, torch.tensor([[0.2, 1, 1]] * 3))


@pytest.mark.parametrize(
    "of", [dominant_directions(torch.eye(4, 6), 0.0, "squares"), dominant_rows(torch.eye(4), 1, 0)]
)
def test_no_direction_and_no_strength_take_nothing_off(of):
    generator = torch.Generator().manual_seed(0)
    step = torch.randn(4, len(of.keys), generator=generator)
    assert torch.equal(of.of(DenseChange(step)).step, step) and not of.taken_off(step).any()
    change = of.of(Change(step, torch.eye(len(of.keys))))
    assert torch.equal(change.left, step) and torch.equal(change.right, torch.eye(len(of.keys)))


def test_a_matrix_of_zeros_has_no_length_to_divide_by():
    for damping in (dominant_rows(torch.zeros(2, 3), 0.5, 1.0), dominant_directions(torch.zeros(2, 3), 0.5, "squares")):
        assert torch.isfinite(damping.of(DenseChange(torch.ones(2, 3))).step).all()
