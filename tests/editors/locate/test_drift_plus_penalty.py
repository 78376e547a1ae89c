"""LyapLock against its published equations in float64, its objective, and its limits."""

import math

import pytest
import torch
from pydantic import ValidationError

from normgrowth.editors.locate.closed_forms import second_moment_and_ridge
from normgrowth.editors.locate.drift_plus_penalty import DriftPlusPenalty
from normgrowth.editors.registry import declaration
from tests.support import small_models
from tests.support.batches import LAYER, Batches, close
from tests.support.every_editor import settings_of

WEIGHT = 40.0
PRESSURE, VALUES = f"pressure.{LAYER}", f"past_values.{LAYER}"


def writer_of(alpha=60.0):
    return DriftPlusPenalty(second_moment_and_ridge(WEIGHT), alpha)


def after_batches(batches, count):
    """A prepared writer, the matrix and the memory after the first `count` batches."""
    writer = batches.prepared(writer_of())
    memory, matrix = writer.begin(), batches.unedited
    for number in range(count):
        matrix = matrix + writer.change(batches.located(matrix, number), memory).step.double()
    return writer, matrix, memory


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.5, 60.0])
def test_steps_and_queue_are_those_of_the_published_equations(alpha):
    """With Z and a apart, the products V_p K_pᵀ and K_p K_pᵀ summed up, and explicit inverses."""
    batches = Batches(count=6)
    c, w0 = batches.c, batches.unedited
    found, memory = batches.written(writer_of(alpha))
    matrix = w0
    gram, product = torch.zeros_like(c), torch.zeros_like(w0)
    queue = rate = least = base = None
    for keys, values, now in zip(batches.keys, batches.values, found[1:], strict=True):
        residual = values - matrix @ keys
        if base is None:
            step = (residual @ keys.T + WEIGHT * (w0 - matrix) @ c) @ torch.linalg.inv(keys @ keys.T + WEIGHT * c)
        else:
            pull = rate * queue * WEIGHT
            wanted = residual @ keys.T + pull * (w0 - matrix) @ c + product - matrix @ gram
            step = wanted @ torch.linalg.inv(keys @ keys.T + pull * c + gram)
        matrix = matrix + step
        error = torch.trace((matrix - w0) @ c @ (matrix - w0).T).item()
        if base is None:
            base, least = error, math.sqrt(alpha * error)
            rate, queue = 1 / least, least
        queue = max(queue + rate * (error - alpha * base), least)
        product, gram = product + matrix @ keys @ keys.T, gram + keys @ keys.T
        assert close(now, matrix, 1e-5)
    assert memory[PRESSURE].item() == pytest.approx(rate * queue, rel=1e-4)
    assert (memory[PRESSURE] > 1.01).item() == (alpha < 2)  # six batches outgrow the small budgets alone


def test_a_step_minimises_the_weighted_losses_of_new_facts_text_and_past_facts():
    batches = Batches()
    writer, matrix, memory = after_batches(batches, 3)
    memory[PRESSURE] = torch.tensor(2.5, dtype=torch.float64)
    keys, past, values = batches.keys[3], torch.cat(batches.keys[:3], dim=1), memory[VALUES].clone()
    end = matrix + writer.change(batches.located(matrix, 3), memory).step.double()
    parts = [
        (end @ keys - batches.values[3]) @ keys.T,
        2.5 * WEIGHT * (end - batches.unedited) @ batches.c,
        (end @ past - values) @ past.T,
    ]
    assert sum(parts).norm() < 1e-5 * max(part.norm() for part in parts)


def test_the_first_batch_is_a_step_of_memit():
    batches = Batches(count=1)
    keys, residual = batches.keys[0], batches.values[0] - batches.unedited @ batches.keys[0]
    step = residual @ keys.T @ torch.linalg.inv(WEIGHT * batches.c + keys @ keys.T)
    assert close(batches.written(writer_of())[0][1] - batches.unedited, step)


def test_an_endless_queue_brings_the_unedited_matrix_back():
    batches = Batches()
    writer, matrix, memory = after_batches(batches, 3)
    before = (matrix - batches.unedited).norm()
    for pressure, left in ((1e3, 0.1), (1e6, 1e-4), (1e12, 1e-6)):
        noted = {**memory, PRESSURE: torch.tensor(pressure, dtype=torch.float64)}
        end = matrix + writer.change(batches.located(matrix, 3), noted).step.double()
        assert (end - batches.unedited).norm() < left * before


def test_at_pressure_one_with_past_values_intact_it_is_memit_with_history_and_the_pull_to_the_unedited_matrix():
    batches = Batches()
    writer, matrix, memory = after_batches(batches, 3)
    keys, past = batches.keys[3], torch.cat(batches.keys[:3], dim=1)
    memory[PRESSURE], memory[VALUES] = torch.ones((), dtype=torch.float64), matrix @ past
    step = writer.change(batches.located(matrix, 3), memory).step.double()
    system = WEIGHT * batches.c + past @ past.T + keys @ keys.T
    wanted = (batches.values[3] - matrix @ keys) @ keys.T
    assert close(step, torch.linalg.solve(system, (wanted + WEIGHT * (batches.unedited - matrix) @ batches.c).T).T)
    assert not close(step, torch.linalg.solve(system, wanted.T).T, 0.05)


def test_at_pressure_one_with_past_targets_for_past_values_it_is_memit_with_history():
    """Then all three losses are those of one least-squares problem over all batches."""
    batches = Batches()
    writer, _, memory = after_batches(batches, 3)
    memory[PRESSURE] = torch.ones((), dtype=torch.float64)
    memory[VALUES] = torch.cat(batches.values[:3], dim=1)
    matrix = batches.solution(WEIGHT * batches.c, 3)
    end = matrix + writer.change(batches.located(matrix, 3), memory).step.double()
    assert close(end, batches.solution(WEIGHT * batches.c, 4))


def test_the_queue_falls_back_to_its_least_value_and_no_further():
    batches = Batches()
    writer, _, memory = after_batches(batches, 2)
    memory[PRESSURE] = torch.tensor(1.5, dtype=torch.float64)
    writer.change(batches.located(batches.unedited, 2), memory)  # an error far below 60 times the first
    assert memory[PRESSURE].item() == 1.0


def test_values_just_after_an_edit_are_remembered():
    batches = Batches()
    matrices, memory = batches.written(writer_of())
    expected = [matrix @ keys for matrix, keys in zip(matrices[1:], batches.keys, strict=True)]
    assert torch.allclose(memory[VALUES], torch.cat(expected, dim=1), atol=1e-12)


@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_the_budget_is_not_that_of_a_first_batch_that_the_model_knew(noise):
    batches = Batches()
    w0 = batches.unedited
    writer = batches.prepared(writer_of())
    memory = writer.begin()
    known = batches.located(w0, 0, residual=noise * w0 @ batches.keys[0])
    matrix = w0 + writer.change(known, memory).step.double()
    assert set(memory) == {VALUES}
    assert torch.allclose(memory[VALUES], w0 @ batches.keys[0], rtol=1e-5)
    matrix = matrix + writer.change(batches.located(matrix, 1), memory).step.double()
    assert memory[PRESSURE].item() == 1.0
    error = torch.trace((matrix - w0) @ batches.c @ (matrix - w0).T).item()
    assert memory[f"first_error.{LAYER}"].item() == pytest.approx(error, rel=1e-9)


def make(lm, **changed):
    editor = declaration("lyaplock").build(settings_of("lyaplock").model_copy(update=changed))
    resources = small_models.resources(lm)
    editor.prepare(lm, resources)
    return editor, editor.begin(lm), resources


@pytest.mark.parametrize("architecture", small_models.ARCHITECTURES)
def test_the_preservation_error_is_of_the_matrix_alone(architecture):
    """GPT-2's down-projections have biases; the error is tr((W - W_0) C (W - W_0)ᵀ) of each edited layer."""
    lm = small_models.language_model_of(architecture)
    editor, memory, resources = make(lm)
    before = {layer: lm.anatomy.down_projections[layer].matrix.double() for layer in editor.layers}
    editor.edit(lm, memory, small_models.facts()[:2])
    for layer, unedited in before.items():
        change = lm.anatomy.down_projections[layer].matrix.double() - unedited
        error = torch.trace(change @ resources.second_moments[layer].moment @ change.T)
        assert memory[f"first_error.{layer}"].item() == pytest.approx(error.item(), rel=1e-4)


def test_a_small_budget_keeps_the_error_below_a_large_ones():
    errors = []
    for alpha in (0.01, 1e6):
        lm = small_models.language_model_of("gpt2")
        editor, memory, resources = make(lm, alpha=alpha)
        unedited = lm.anatomy.down_projections[1].matrix.double()
        for start in (0, 2, 4):
            editor.edit(lm, memory, small_models.facts()[start : start + 2])
        change = lm.anatomy.down_projections[1].matrix.double() - unedited
        errors.append(torch.trace(change @ resources.second_moments[1].moment @ change.T).item())
        assert (memory["pressure.1"] > 1).item() == (alpha == 0.01)
    assert errors[0] < 0.5 * errors[1]


def test_facts_that_the_model_knows_are_no_error():
    lm = small_models.language_model_of("gpt2")
    editor, memory, _ = make(lm, steps=1)  # no gradient step: the target is the present value
    editor.edit(lm, memory, small_models.facts()[:2])
    assert "first_error.0" not in memory and torch.isfinite(lm.anatomy.down_projections[0].matrix).all()


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"preservation_weight": 0.0}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError, match="greater than 0"):
        declaration("lyaplock").Settings(**wrong)
