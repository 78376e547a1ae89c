"""DeltaEdit: statistics against a loop in plain Python, directions against numpy, and values kept out of them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from normgrowth.editors.locate.noise import NOISE, Guard, NoiseStatistics
from normgrowth.editors.locate.search import search_targets
from normgrowth.editors.registry import declaration
from tests.support import small_models
from tests.support.every_editor import settings_of

MANY = [
    replace(fact, case_id=100 * place + fact.case_id, target_new=small_models.PLACES[place])
    for place in range(4)
    for fact in small_models.facts()
]


def editor_of(kind, lm, **changes):
    settings = settings_of(kind).model_copy(update=changes)
    editor = declaration(kind).build(settings)
    editor.prepare(lm, small_models.resources(lm))
    return editor, editor.begin(lm)


@pytest.mark.parametrize("deviations", [0.5, 1.5, 3.0])
def test_the_running_statistics_are_the_published_ones(deviations):
    norms = np.random.default_rng(0).gamma(2.0, size=200)
    guard = Guard(deviations, 20, 0.25, None)
    statistics, unusual = NoiseStatistics(0, math.nan, 0.0), []
    mean, variance, wanted = None, 0.0, []
    for number, norm in enumerate(norms, 1):
        statistics = statistics._replace(facts=statistics.facts + 1)
        unusual.append(statistics.is_unusual(norm, guard))
        if not unusual[-1]:
            statistics = statistics.with_value(norm)
        mean = norm if mean is None else mean
        if number > 20 and variance and abs(norm - mean) > deviations * variance**0.5:
            wanted.append(True)
        else:
            wanted.append(False)
            mean = 0.9 * mean + 0.1 * norm
            variance = 0.9 * variance + 0.1 * (norm - mean) ** 2
    assert unusual == wanted and any(wanted[20:]) and not any(wanted[:20])
    assert statistics.mean == pytest.approx(mean) and statistics.variance == pytest.approx(variance)


@pytest.mark.parametrize("rank", [1, 3, 8])
@pytest.mark.parametrize("share", [0.25, 0.5])
def test_dominant_directions_are_the_leading_left_singular_vectors(rank, share):
    generator = np.random.default_rng(rank)
    drift = generator.standard_normal((12, rank)) @ generator.standard_normal((rank, 20))
    noise = drift @ generator.standard_normal(20)
    guard = Guard(3.0, 20, share, None)
    found = guard.dominant(torch.tensor(drift), torch.tensor(noise), 1e-6).numpy()
    vectors, spread, _ = np.linalg.svd(np.c_[noise, drift])
    count = min(rank, int(share * 12))
    assert found.shape == (12, count)
    assert np.allclose(found @ found.T, vectors[:, :count] @ vectors[:, :count].T, atol=1e-9)
    between = float(np.square(spread[:2]).mean()) if rank > 1 else float(spread[0] ** 2 / 2)
    above = replace(guard, threshold=between).dominant(torch.tensor(drift), torch.tensor(noise), 1e-6)
    assert above.shape[1] == 1
    assert Guard(3.0, 20, 0.05, None).dominant(torch.tensor(drift), torch.tensor(noise), 1e-6).shape == (12, 0)


@pytest.mark.parametrize("architecture", small_models.ARCHITECTURES)
def test_while_nothing_is_unusual_it_is_alphaedit(architecture):
    results = []
    for kind, changes in (("alphaedit", {"remember": "before_edit"}), ("deltaedit", {"deviations": 1e9})):
        lm = small_models.language_model_of(architecture)
        editor, memory = editor_of(kind, lm, **changes)
        for start in (0, 2, 4):
            editor.edit(lm, memory, small_models.facts()[start : start + 2])
        results.append([lm.anatomy.down_projections[layer].matrix.clone() for layer in editor.layers])
    assert all(map(torch.equal, *results))
    facts, mean, variance = memory[NOISE].tolist()
    assert facts == 6 and mean > 0 and variance > 0


@pytest.mark.parametrize("architecture", small_models.ARCHITECTURES)
def test_an_unusual_fact_is_written_outside_of_the_dominant_directions(architecture):
    lm = small_models.language_model_of(architecture)
    editor, memory = editor_of("deltaedit", lm, layers=(1,), warm_up=4, deviations=0.0)
    matrix = lm.anatomy.down_projections[1].matrix
    unedited = matrix.double().numpy().copy()
    for start in range(0, 4, 2):
        editor.edit(lm, memory, MANY[start : start + 2])
    statistics = memory[NOISE].clone()
    drift = matrix.double().numpy() - unedited
    vectors = np.linalg.svd(drift)[0][:, :4]  # of rank 4, below a quarter of 32: the noise adds no direction
    trace = editor.edit(lm, memory, MANY[4:6])
    left = trace.changes[1].left.double().numpy()
    assert np.abs(vectors.T @ left).max() < 1e-4 * np.linalg.norm(left)
    step = matrix.double().numpy() - unedited - drift
    assert np.abs(vectors.T @ step).max() < 1e-4 * np.linalg.norm(step)
    assert memory[NOISE].tolist() == [6, *statistics.tolist()[1:]]  # an unusual norm does not count
    other = small_models.language_model_of(architecture)
    plain, of_plain = editor_of("alphaedit", other, layers=(1,), remember="before_edit")
    for start in range(0, 6, 2):
        trace = plain.edit(other, of_plain, MANY[start : start + 2])
    left = trace.changes[1].left.double().numpy()
    assert np.abs(vectors.T @ left).max() > 0.05 * np.linalg.norm(left)


def test_each_fact_of_a_batch_is_judged_by_itself_in_any_order_of_passes():
    """Facts of unlike length change places in the search; their closed directions follow them."""
    lm = small_models.language_model_of("gpt2")
    editor, memory = editor_of("deltaedit", lm, layers=(1,), warm_up=4)
    for start in range(0, 4, 2):
        editor.edit(lm, memory, MANY[start : start + 2])
    search = editor._search_with(memory)
    facts = [MANY[4], MANY[8], MANY[5]]
    closed = torch.linalg.qr(torch.randn(32, 5, generator=torch.Generator().manual_seed(1))).Q
    for guarded in range(3):
        of_facts = tuple(closed if fact == guarded else None for fact in range(3))
        offsets = search_targets(lm, facts, editor.templates, replace(search, closed=of_facts)).offsets
        inside = (offsets @ closed).norm(dim=1) / offsets.norm(dim=1)
        assert [share.item() < 1e-4 for share in inside] == [fact == guarded for fact in range(3)]


@pytest.mark.parametrize(
    "wrong",
    [{"deviations": -1}, {"warm_up": -1}, {"dominant_share": 1}, {"dominant_share": 0}, {"dominance_threshold": 0}],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        declaration("deltaedit").Settings(**wrong)
