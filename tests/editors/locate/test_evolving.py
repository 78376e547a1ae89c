"""EvoEdit: the shrinking projector against dense projectors in numpy, and what it does when no direction is left."""

import numpy as np
import pytest
import torch

from normgrowth.editors.base import Resources
from normgrowth.editors.locate.evolving import EvolvingWriter, used_directions
from normgrowth.editors.locate.method import Located
from normgrowth.editors.locate.solving import UnsolvableError
from normgrowth.editors.moments import SecondMoment, null_space
from normgrowth.editors.registry import declaration
from normgrowth.errors import EditError
from tests.support import small_models
from tests.support.every_editor import settings_of

WIDTH, D, FREE, RIDGE = 5, 24, 15, 0.3


class Problem:
    """A second moment with `FREE` directions below 1, and gaussian batches."""

    def __init__(self, seed=0, share=0.01, free=FREE):
        self.generator = np.random.default_rng(seed)
        vectors = np.linalg.qr(self.generator.standard_normal((D, D)))[0]
        values = np.r_[np.full(free, 0.1), np.full(D - free, 5.0)]
        self.projector = vectors[:, :free] @ vectors[:, :free].T
        self.space = null_space(SecondMoment(torch.tensor(vectors * values @ vectors.T), 100, 2), 1.0)
        self.writer = EvolvingWriter(RIDGE, share)
        self.writer.prepare(None, Resources({}, null_spaces={2: self.space}), (2,))
        self.memory = {}

    def batch(self, b=3):
        return self.generator.standard_normal((D, b)), self.generator.standard_normal((WIDTH, b))

    def write(self, k, r):
        keys, residual = (torch.tensor(x).float() for x in (k, r))
        change = self.writer.change(Located(2, torch.zeros(WIDTH, D), keys, keys, residual, None), self.memory)
        return (change.left.double() @ change.right.double().T).numpy()

    def free(self):
        """P_0 - U Uᵀ from what is remembered."""
        used = self.memory[used_directions(2)].numpy()
        return self.projector - used @ used.T


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("free", [8, 15, 24])
def test_batch_for_batch_it_is_the_published_formula_with_dense_projectors(seed, free):
    p = Problem(seed, free=free)
    projector = p.projector.copy()
    for b in (3, 2, 3):
        k, r = p.batch(b)
        k = k.astype(np.float32).astype(np.float64)
        published = r @ np.linalg.solve(k.T @ projector @ k + RIDGE * np.eye(b), k.T @ projector)
        assert np.allclose(p.write(k, r), published, atol=1e-5)
        basis = np.linalg.qr(projector @ k)[0]
        projector = projector - basis @ basis.T
        assert np.allclose(p.free(), projector, atol=1e-12)
        assert np.allclose(projector @ k, 0, atol=1e-12)


def test_the_projector_stays_one_and_no_later_batch_changes_what_earlier_keys_give():
    p = Problem(1)
    seen, later = [], []
    for _ in range(5):
        k, r = p.batch()
        later.append(p.write(k, r))
        seen.append(k)
        free = p.free()
        assert np.allclose(free @ free, free, atol=1e-12) and np.allclose(free, free.T)
        assert np.trace(free) == pytest.approx(FREE - 3 * len(seen))
        assert np.abs(free @ np.hstack(seen)).max() < 1e-6  # keys come in float32
    for number, change in enumerate(later):
        for k in seen[:number]:
            assert np.abs(change @ k).max() < 1e-5
        assert np.abs(change @ seen[number]).max() > 1e-2


def test_a_key_seen_before_and_a_near_duplicate_use_up_no_direction():
    p = Problem(2)
    k, r = p.batch(2)
    p.write(k, r)
    near = k + 1e-4 * p.batch(2)[0]
    for again in (k, near):
        change = p.write(again, r)
        assert p.memory[used_directions(2)].shape[1] == 2
        assert np.abs(change @ again).max() < 1e-3  # and can hardly be written any more
    twice = p.batch(1)[0]
    p.write(np.hstack([twice, twice]), p.batch(2)[1])
    assert p.memory[used_directions(2)].shape[1] == 3
    cautious = Problem(2, share=1e-7)
    cautious.write(k, r)
    cautious.write(near, r)
    assert cautious.memory[used_directions(2)].shape[1] == 4


def test_the_end_of_the_free_directions_is_refused_in_a_line():
    p = Problem(3)
    for _ in range(4):
        p.write(*p.batch(3))
    p.write(*p.batch(2))
    with pytest.raises(
        UnsolvableError,
        match="takes a free direction for each of 2 facts, and of the 15 in the null space earlier edits have left 1: "
        "raise null_space_threshold, or make fewer edits",
    ):
        p.write(*p.batch(2))
    assert p.memory[used_directions(2)].shape[1] == 14
    p.write(*p.batch(1))
    assert np.allclose(p.free(), 0, atol=1e-12)


@pytest.mark.parametrize("architecture", small_models.ARCHITECTURES)
def test_its_first_batch_is_alphaedits(architecture):
    results = []
    for kind in ("alphaedit", "evoedit"):
        lm = small_models.language_model_of(architecture)
        editor = declaration(kind).build(settings_of(kind))
        editor.prepare(lm, small_models.resources(lm))
        memory = editor.begin(lm)
        editor.edit(lm, memory, small_models.facts()[:2])
        results.append([lm.anatomy.down_projections[layer].matrix.clone() for layer in editor.layers])
    assert all(map(torch.equal, *results))
    assert sorted(memory) == ["rates", "used_directions.0", "used_directions.1"]


def test_in_a_model_the_refusal_names_layer_and_facts():
    lm = small_models.language_model_of("gpt2")
    editor = declaration("evoedit").build(settings_of("evoedit"))
    editor.prepare(lm, small_models.resources(lm))
    memory = editor.begin(lm)
    space = editor.method.writer.preserved[0].null_space
    complete = torch.linalg.qr(space.basis, mode="complete").Q
    rank, thin = space.rank, space.basis.shape[1]
    inside = complete[:, :thin] if space.spans_range else complete[:, thin:]
    memory[used_directions(0)] = inside[:, 1:].contiguous()
    with pytest.raises(
        EditError, match=rf"^the update of layer 0 for case 10, 11 takes a free .* of the {rank} .* left 1"
    ):
        editor.edit(lm, memory, small_models.facts()[:2])


@pytest.mark.parametrize("wrong", [{"used_share": 0}, {"used_share": 1}, {"remember": "nothing"}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        declaration("evoedit").Settings(**wrong)
