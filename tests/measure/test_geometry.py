"""CKA, principal subspaces and singular subspaces on cases whose answers are known."""

import numpy as np
import pytest
import torch

from normgrowth.measure.geometry import Centred
from normgrowth.measure.geometry import cka as cka_of_sets
from normgrowth.measure.spectra import leading, rotation
from normgrowth.measure.subspaces import departure, principal, principal_angles


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def orthogonal(size, seed=0):
    return torch.linalg.qr(gaussian(size, size, seed=seed)).Q


def cka(x, y):
    """The debiased CKA of two sets."""
    return cka_of_sets(Centred.of(x), Centred.of(y))


def biased_cka(x, y):
    """Kornblith et al. 2019, eq. 2."""
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    norm = torch.linalg.matrix_norm
    return (norm(x.T @ y) ** 2 / (norm(x.T @ x) * norm(y.T @ y))).item()


def test_cka_of_a_set_with_itself_is_one_whatever_its_rotation_and_scale():
    x = gaussian(60, 20)
    assert cka(x, x) == pytest.approx(1)
    assert cka(x, 7 * x @ orthogonal(20) + 3) == pytest.approx(1)
    assert cka(x, x @ orthogonal(20)) == pytest.approx(cka(x, x))


def test_debiased_cka_of_unrelated_sets_is_near_zero_and_the_biased_one_is_not():
    pairs = [(gaussian(200, 1600, seed=i), gaussian(200, 1600, seed=1000 + i)) for i in range(10)]
    assert np.mean([cka(x, y) for x, y in pairs]) == pytest.approx(0, abs=0.01)
    assert np.mean([biased_cka(x, y) for x, y in pairs[:3]]) > 0.85


@pytest.mark.parametrize("widths", [(3, 4), (7, 20), (1, 6)])
def test_debiased_cka_equals_its_definition(widths):
    """HSIC_1 of Song et al. 2012, of the kernels of sets with fewer and with more dimensions than vectors."""
    x, y = gaussian(7, widths[0]) + 3, gaussian(7, widths[1], seed=1)

    def hsic(k, m):
        n = len(k)
        k, m = k - torch.diag(k.diagonal()), m - torch.diag(m.diagonal())
        ones = torch.ones(n, dtype=torch.float64)
        terms = (k @ m).trace() + (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
        return ((terms - 2 / (n - 2) * (ones @ k @ m @ ones)) / (n * (n - 3))).item()

    k, m = x @ x.T, y @ y.T
    assert cka(x, y) == pytest.approx(hsic(k, m) / (hsic(k, k) * hsic(m, m)) ** 0.5)


def test_cka_of_too_few_still_or_broken_probes_is_no_number():
    for x in (gaussian(3, 5), torch.ones(10, 5), torch.full((10, 5), torch.nan)):
        assert np.isnan(cka(x, x))


@pytest.mark.parametrize("degrees", [0.0, 1e-6, 20.0, 45.0, 70.0, 90.0])
def test_principal_angles_of_constructed_subspaces(degrees):
    """Two planes that share one direction and are turned by a known angle in another."""
    basis = orthogonal(9)
    angle = np.deg2rad(degrees)
    first = basis[:, :2]
    second = torch.stack([basis[:, 0], np.cos(angle) * basis[:, 1] + np.sin(angle) * basis[:, 5]], dim=1)
    assert principal_angles(first, second) == pytest.approx([0, degrees], abs=1e-7)
    mean_square = (1 + np.cos(angle) ** 2) / 2
    assert rotation(second, first) == pytest.approx(np.rad2deg(np.arccos(mean_square**0.5)), abs=1e-5)


def test_principal_components_are_those_of_the_covariance():
    scales = torch.tensor([5.0, 3.0, 1.0, 0.1], dtype=torch.float64)
    x = gaussian(500, 4) * scales @ orthogonal(4).T + 2
    _, vectors = torch.linalg.eigh(torch.cov(x.T))
    found = principal(x, 2)
    assert (found.T @ vectors.flip(1)[:, :2]).abs() == pytest.approx(torch.eye(2), abs=1e-8)
    assert all(column[column.abs().argmax()] > 0 for column in found.T)


@pytest.mark.parametrize("shape", [(12, 40), (40, 12)])
def test_components_beyond_the_rank_do_no_harm(shape):
    n, width = shape
    x = gaussian(n, 2) @ gaussian(2, width, seed=1)
    found = principal(x, 5)
    assert torch.isfinite(found).all() and (found.norm(dim=0) < 1.1).all()
    centred = x - x.mean(dim=0)
    assert (centred @ found[:, :2]).square().sum() == pytest.approx(centred.square().sum().item())


def in_subspace(n, width, rank, seed):
    return gaussian(n, rank, seed=seed) @ orthogonal(width, seed=99)[:rank]


def test_an_unchanged_set_has_not_left_its_subspace():
    x = gaussian(80, 30)
    found = departure(x, x, 5)
    assert (found.change, found.change_std, found.centroid_shift) == (0, 0, 0)
    assert found.angles == pytest.approx([0] * 5, abs=1e-6)


def test_another_sample_of_the_same_kind_has_not_left_either():
    """Without cross-fitting it would seem to: its own sample fits a basis better than another one does."""
    changes = [departure(gaussian(60, 50, seed=i), gaussian(60, 50, seed=100 + i), 8).change for i in range(40)]
    assert abs(np.mean(changes)) < 2.5 * np.std(changes) / len(changes) ** 0.5


def test_activations_in_another_subspace_are_seen():
    before = in_subspace(80, 40, 6, seed=1) + 0.05 * gaussian(80, 40)
    turned = before @ orthogonal(40, seed=3)
    found = departure(turned, before, 6)
    assert found.explained_unedited > 0.9 and found.explained < 0.4
    assert found.change == pytest.approx(found.explained - found.explained_unedited)
    assert min(found.angles) > 10 and found.change + 5 * found.change_std / 80**0.5 < 0


def test_a_shift_moves_the_centroid_and_leaves_the_subspace():
    before = gaussian(80, 20)
    spread = (before - before.mean(dim=0)).square().sum(dim=1).mean().sqrt()
    found = departure(before + 2 * spread * torch.eye(20, dtype=torch.float64)[0], before, 4)
    assert found.centroid_shift == pytest.approx(2)
    assert found.change == pytest.approx(0)
    # A round cloud has no subspace to leave.
    assert np.isnan(found.degree)


def test_a_shift_out_of_the_subspace_is_seen_about_the_unedited_mean():
    before = in_subspace(160, 40, 6, seed=1)
    spread = (before - before.mean(dim=0)).square().sum(dim=1).mean().sqrt()
    outside = orthogonal(40, seed=99)[20]
    for spreads in (1, 3):
        found = departure(before + spreads * spread * outside, before, 6)
        assert found.degree == pytest.approx(0, abs=1e-9) and found.explained_unedited == pytest.approx(1)
        kept = 1 / (1 + spreads**2)  # of the second moment about the unedited mean
        assert found.explained_uncentred == pytest.approx(kept, rel=0.05)
        assert found.degree_uncentred == pytest.approx((1 - kept) / (1 - 6 / 40), rel=0.05)


def test_independent_subspaces_are_at_one_whatever_the_spectrum():
    """A random subspace of k out of d dimensions holds k / d of any variance on average."""
    steep = torch.logspace(1, -1, 40, dtype=torch.float64)
    degrees = []
    for seed in range(30):
        before = gaussian(200, 40, seed=seed) * steep @ orthogonal(40, seed=5)
        found = departure(before @ orthogonal(40, seed=100 + seed), before, 5)
        degrees.append((found.degree, found.degree_uncentred))
    assert np.mean(degrees, axis=0) == pytest.approx([1, 1], abs=0.1)


def test_vectors_of_one_window_are_one_unit():
    """Repeating each vector four times adds nothing: the standard error stays that of the windows."""
    before, now = gaussian(60, 20), gaussian(60, 20, seed=1)
    alone, repeated = departure(now, before, 4), departure(*(x.repeat_interleave(4, 0) for x in (now, before)), 4, 4)
    assert (repeated.n, repeated.units, alone.units) == (240, 60, 60)
    assert repeated.degree == pytest.approx(alone.degree)
    assert repeated.degree_std == pytest.approx(alone.degree_std)


def test_the_spread_of_the_change_tells_its_error():
    """z-scores of the change over samples without any change of kind are about standard normal."""
    basis = orthogonal(30, seed=5)

    def sample(seed):
        return gaussian(120, 30, seed=seed) * torch.linspace(3, 0.3, 30, dtype=torch.float64) @ basis

    found = [departure(sample(i), sample(i + 500), 5) for i in range(60)]
    for z in (
        [f.change / (f.change_std / f.units**0.5) for f in found],
        [f.degree / (f.degree_std / f.units**0.5) for f in found],
        [f.degree_uncentred / (f.degree_uncentred_std / f.units**0.5) for f in found],
    ):
        assert 0.7 < np.std(z) < 1.4


def test_broken_activations_are_no_numbers():
    x = gaussian(20, 6)
    found = departure(x / 0, x, 3)
    assert np.isnan([found.explained, found.change, found.degree, found.centroid_shift, *found.angles]).all()


@pytest.mark.parametrize("shape", [(40, 60), (300, 700), (900, 250)])
def test_leading_singular_triples_equal_those_of_a_full_decomposition(shape):
    matrix = gaussian(*shape)
    found = leading(matrix.float(), 6)
    left, values, right = torch.linalg.svd(matrix.float().double(), full_matrices=False)
    assert found.values == pytest.approx(values[:6], rel=1e-6)
    assert rotation(found.left, left[:, :6]) < 0.1 and rotation(found.right, right[:6].T) < 0.1
    assert torch.allclose(matrix.float().double() @ found.right, found.left * found.values, atol=1e-2 * values[0])


def test_a_matrix_of_small_rank_has_no_more_singular_values():
    matrix = gaussian(400, 3) @ gaussian(3, 300, seed=1)
    assert (leading(matrix, 5).values[3:] < 1e-9 * leading(matrix, 5).values[0]).all()
    assert len(leading(gaussian(3, 9), 8).values) == 3
