"""BetaEdit: against the published formula with dense matrices in numpy, and its null space found anew."""

import numpy as np
import pytest
import torch

from normgrowth.editors.base import Resources
from normgrowth.editors.locate.method import Located
from normgrowth.editors.locate.refreshed import RefreshingWriter
from normgrowth.editors.locate.solving import UnsolvableError
from normgrowth.editors.moments import SecondMoment, null_space
from normgrowth.editors.registry import declaration
from normgrowth.errors import EditError
from tests.support import small_models
from tests.support.every_editor import settings_of

WIDTH, D = 5, 16


def float32(x):
    return x.astype(np.float32).astype(np.float64)


class Problem:
    """A second moment C [d, d], a writer, and past keys as they gather."""

    def __init__(self, seed=0, threshold=0.8, **settings):
        self.generator = np.random.default_rng(seed)
        sample = self.generator.standard_normal((D, 3 * D)) * self.generator.uniform(0.2, 2, (D, 1))
        self.c = sample @ sample.T / (3 * D)
        self.threshold = threshold
        moment = SecondMoment(torch.tensor(self.c), 100, 2)
        of_writer = {"moment_weight": 3.0, "norm_weight": 0.5, "refresh": 1000, "largest_change": None} | settings
        self.writer = RefreshingWriter(threshold=threshold, **of_writer)
        self.writer.prepare(None, Resources({}, {2: moment}, {2: null_space(moment, threshold)}), (2,))
        self.past = np.zeros((D, 0))

    def fact(self):
        return float32(self.generator.standard_normal((D, 1))), self.generator.standard_normal((WIDTH, 1))

    def write(self, k, r):
        keys, residual = torch.tensor(k).float(), torch.tensor(r).float()
        past = torch.tensor(self.past).float() if self.past.size else None
        change = self.writer.change(Located(2, torch.zeros(WIDTH, D), keys, keys, residual, past), {})
        return (change.left.double() @ change.right.double().T).numpy()


def projector(c, threshold):
    values, vectors = np.linalg.eigh(c)
    below = values < (values.mean() if threshold is None else threshold)
    return vectors[:, below] @ vectors[:, below].T


def published(p, k, r, past, c, moment_weight=3.0, norm_weight=0.5):
    inverted = p @ (k @ k.T + past @ past.T + moment_weight * c) + norm_weight * np.eye(D)
    return np.linalg.solve(inverted, p @ k @ r.T).T


@pytest.mark.parametrize("threshold", [0.8, 2.0, None])
@pytest.mark.parametrize("refresh", [1, 4, 1000])
def test_edit_for_edit_it_is_the_published_formula(threshold, refresh):
    """More edits than dimensions; the null space on the thin side and on the other."""
    p = Problem(1, threshold, refresh=refresh)
    of_edits = projector(p.c, threshold)
    for edits in range(24):
        if edits and edits % refresh == 0:
            of_edits = projector((p.past @ p.past.T / edits + 3.0 * p.c) / 4.0, threshold)
        k, r = p.fact()
        assert np.allclose(p.write(k, r), published(of_edits, k, r, p.past, p.c), atol=2e-6)
        p.past = np.hstack([p.past, k])


def test_between_two_refreshes_the_null_space_stays_whatever_the_process():
    """A process that starts in between finds the null space of the last refresh."""
    p = Problem(2, refresh=3)
    for _ in range(8):
        k, r = p.fact()
        change = p.write(k, r)
        fresh = Problem(2, refresh=3)
        fresh.past = p.past
        assert np.array_equal(fresh.write(k, r), change)
        p.past = np.hstack([p.past, k])


def test_text_counts_within_the_null_space():
    p, light = Problem(3), Problem(3, moment_weight=1e-9)
    k, r = p.fact()
    heavy, free = p.write(k, r), light.write(k, r)
    assert np.trace(heavy @ p.c @ heavy.T) < 0.7 * np.trace(free @ p.c @ free.T)
    of_text = projector(p.c, 0.8)
    assert np.allclose(free, r @ np.linalg.solve(k.T @ of_text @ k + 0.5, k.T @ of_text), atol=1e-6)  # AlphaEdit's


def test_weights_left_out_follow_the_model():
    """λ_1 is a quarter of the width, λ_2 a hundredth of tr(C), both whatever the scale of the keys."""
    p = Problem(4, None, moment_weight=None, norm_weight=None)
    k, r = p.fact()
    expected = published(projector(p.c, None), k, r, p.past, p.c, 0.25 * D, 0.01 * np.trace(p.c))
    assert np.allclose(p.write(k, r), expected, atol=1e-6)


def test_a_change_above_the_limit_is_refused_with_its_size():
    p = Problem(5)
    k, r = p.fact()
    size = np.linalg.norm(p.write(k, r))
    assert np.array_equal(Problem(5, largest_change=1.01 * size).write(k, r), p.write(k, r))
    with pytest.raises(UnsolvableError, match=rf"has a norm of {size:.3g}\d*, above the largest_change of .*: raise"):
        Problem(5, largest_change=0.99 * size).write(k, r)


def test_in_a_model_the_refusal_names_layer_and_fact_and_two_layers_are_edited():
    lm = small_models.language_model_of("gpt2")
    for limit in (None, 1e-3):
        settings = settings_of("betaedit").model_copy(update={"largest_change": limit})
        editor = declaration("betaedit").build(settings)
        editor.prepare(lm, small_models.resources(lm))
        memory, fact = editor.begin(lm), small_models.facts()[:1]
        if limit is None:
            assert sorted(editor.edit(lm, memory, fact).changes) == [0, 1]
            assert memory["past_keys.1"].shape[1] == 1
            continue
        with pytest.raises(EditError, match=r"^the update of layer 0 for case 10 has a norm of .*, above the largest"):
            editor.edit(lm, memory, fact)


def test_several_facts_at_once_are_refused_and_several_layers_are_not():
    settings = declaration("betaedit").Settings
    with pytest.raises(ValueError, match="batch is 2: this editor takes one fact at a time, so batch must be 1"):
        settings(batch=2)
    assert settings(layers=(1, 2)).batch == 1
    assert settings().resolved(24).layers == (2, 3, 4, 5, 6)
    for wrong in ("refresh", "largest_change", "preservation_weight"):
        with pytest.raises(ValueError, match=wrong):
            settings(**{wrong: 0})
    with pytest.raises(ValueError, match=r"layers \[1, 2\]: this editor changes one layer"):
        declaration("rome").Settings(layers=(1, 2))
