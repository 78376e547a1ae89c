"""NSE: the update of chosen neurons against numpy, its passes, its bounds, and values from the unedited model."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from normgrowth.editors.base import Resources
from normgrowth.editors.locate.closed_forms import SecondMomentCost
from normgrowth.editors.locate.keys import at_subject
from normgrowth.editors.locate.method import Located
from normgrowth.editors.locate.neurons import Bounds, NeuronWriter, leading_neurons
from normgrowth.editors.moments import SecondMoment
from normgrowth.editors.registry import declaration
from tests.support import small_models
from tests.support.every_editor import settings_of


def editor_of(kind, lm, **changes):
    settings = settings_of(kind).model_copy(update=changes)
    editor = declaration(kind).build(settings)
    editor.prepare(lm, small_models.resources(lm))
    return editor, editor.begin(lm)


def matrices(lm, layers=(0, 1)):
    return [lm.anatomy.down_projections[layer].matrix.clone() for layer in layers]


@pytest.mark.parametrize("share", [0.05, 0.3, 0.8, 0.999, 1.0])
@pytest.mark.parametrize("past", [0, 3, 40])
def test_the_update_is_least_squares_on_the_leading_neurons_alone(share, past):
    generator = np.random.default_rng(past)
    o, d, b = 5, 16, 3
    sample = generator.standard_normal((d, 6 * d))
    c, r = sample @ sample.T / (6 * d), generator.standard_normal((o, b))
    k, earlier = (generator.standard_normal((d, n)).astype(np.float32).astype(float) for n in (b, past))
    writer = NeuronWriter(lambda resources, layer: SecondMomentCost(resources.second_moments[layer], 2.0, 0.1), share)
    writer.prepare(None, Resources({}, {0: SecondMoment(torch.tensor(c), 100, 0)}), (0,))
    keys, residual = torch.tensor(k).float(), torch.tensor(r).float()
    before = torch.tensor(earlier).float() if past else None
    change = writer.change(Located(0, torch.zeros(o, d), keys, keys, residual, before), {})
    delta = (change.left.double() @ change.right.double().T).numpy()

    scores = np.abs(k).sum(1)
    order = np.argsort(-scores)
    count = d if share == 1 else max(1, int((np.cumsum(scores[order]) <= share * scores.sum()).sum()))
    chosen = order[:count]
    among = np.ix_(chosen, chosen)
    inverted = (2.0 * c + 0.1 * np.eye(d) + earlier @ earlier.T + k @ k.T)[among]
    expected = np.zeros((o, d))
    expected[:, chosen] = r @ np.linalg.solve(inverted, k[chosen]).T
    assert np.allclose(delta, expected, atol=1e-5)
    assert not np.delete(delta, chosen, axis=1).any()


def test_neurons_with_the_largest_keys_lead():
    keys = torch.tensor([[0.1, 0.0], [-3.0, 1.0], [0.0, 0.0], [2.0, -2.0], [0.5, 0.4]])
    assert leading_neurons(keys, 0.5).tolist() == [1]
    assert leading_neurons(keys, 0.9).tolist() == [1, 3]
    assert leading_neurons(keys, 0.01).tolist() == [1]
    assert leading_neurons(keys, 1.0).tolist() == [0, 1, 2, 3, 4]


def test_bounds_are_relative_to_the_offset_or_given():
    residuals, offsets = torch.tensor([0.4, 0.6, 4.9, 5.1, 30.0]), torch.tensor([1.0, 1.0, 1.0, 1.0, 10.0])
    assert Bounds(None, None).within(residuals, offsets) == [1, 2, 4]
    assert Bounds(0.5, 5.0).within(residuals, offsets) == [1, 2]
    assert Bounds(0.0, 40.0).within(residuals, offsets) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("architecture", small_models.ARCHITECTURES)
def test_with_all_neurons_one_pass_and_no_bounds_its_first_batch_is_memits(architecture):
    results = []
    for kind, changes in (
        ("memit", {}),
        ("nse", {"neuron_share": 1.0, "passes": 1, "written_below": 0.0, "given_up_above": 1e9}),
    ):
        lm = small_models.language_model_of(architecture)
        editor, memory = editor_of(kind, lm, **changes)
        trace = editor.edit(lm, memory, small_models.facts()[:2])
        results.append((matrices(lm), memory["past_keys.1"], trace.records))
    (one, past, records), (other, past_of_other, records_of_other) = results
    assert all(map(torch.equal, one, other)) and torch.equal(past, past_of_other)
    assert records == records_of_other


def test_values_are_those_of_the_unedited_model_whatever_was_edited_before():
    lm = small_models.language_model_of("llama")
    editor, memory = editor_of("nse", lm)
    fact = small_models.facts()[4]
    wanted = editor.search(lm, memory, [fact]).values[0]
    for start in (0, 2):
        editor.edit(lm, memory, small_models.facts()[start : start + 2])
    now = editor.search(lm, memory, [fact]).values[0]
    assert (now - wanted).norm() > 0.01 * wanted.norm()
    record = editor.edit(lm, memory, [fact]).records[0]
    assert record.target_norm == pytest.approx(wanted.norm().item(), rel=1e-5)


def test_later_passes_take_up_what_is_not_yet_written_and_come_nearer():
    left, norms = {}, {}
    facts = small_models.facts()[:2]
    for passes in (1, 2, 6):
        lm = small_models.language_model_of("llama")
        editor, memory = editor_of("nse", lm, passes=passes, written_below=0.01, given_up_above=1e9)
        wanted = editor.search(lm, memory, facts).values
        trace = editor.edit(lm, memory, facts)
        left[passes] = (wanted - at_subject(lm, facts, ["{}"], [editor.top])[editor.top][:, 0]).norm().item()
        norms[passes] = {change.left.shape[1] for change in trace.changes.values()}
    assert left[1] > left[2] > left[6]
    assert norms[1] == {2} and norms[2] == {4} and len(norms[6]) == 1
    assert 4 < max(norms[6]) < 12  # facts that are written are not taken up again


def test_a_fact_outside_of_the_bounds_is_not_written_and_says_so():
    lm = small_models.language_model_of("gpt2")
    editor, memory = editor_of("nse", lm, given_up_above=1e-3)
    before = matrices(lm)
    trace = editor.edit(lm, memory, small_models.facts()[:2])
    assert all(map(torch.equal, before, matrices(lm)))
    assert {change.left.shape[1] for change in trace.changes.values()} == {0}
    assert {record.skipped_reason for record in trace.records} == {
        "residual outside of the bounds within which it is written"
    }


def test_the_joint_change_of_all_passes_replays_to_the_same_bits():
    lm = small_models.language_model_of("gpt2")
    editor, memory = editor_of("nse", lm, passes=3, written_below=0.0)
    before = matrices(lm)
    trace = editor.edit(lm, memory, small_models.facts()[:2])
    after = matrices(lm)
    for layer, matrix in enumerate(before):
        projection = lm.anatomy.down_projections[layer]
        projection.matrix.copy_(matrix)
        trace.changes[layer].apply(projection)
        assert torch.equal(projection.matrix, after[layer])


def test_a_scaled_change_of_a_wrapper_leaves_the_matrices_as_the_passes_did():
    lm = small_models.language_model_of("gpt2")
    editor, memory = editor_of("nse", lm)
    editor.filter = lambda layer, change: replace(change, scale=0.5)
    assert editor.edit(lm, memory, small_models.facts()[:2]).changes is None


@pytest.mark.parametrize(
    "wrong",
    [{"neuron_share": 0}, {"neuron_share": 1.1}, {"passes": 0}, {"given_up_above": 0}, {"remember": "before_edit"}],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        declaration("nse").Settings(**wrong)
