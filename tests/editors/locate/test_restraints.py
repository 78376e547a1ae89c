"""RECT and PRUNE: what they keep of a step, and what aligned steps add up to, against float64 solves."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from normgrowth.editors.locate.closed_forms import least_change, second_moment_and_ridge
from normgrowth.editors.locate.restraints import (
    RestrainedLeastSquares,
    compressed_singular_values,
    largest_relative_changes,
)
from normgrowth.editors.registry import declaration
from tests.support import small_models
from tests.support.batches import LAYER, Batches, close
from tests.support.every_editor import settings_of

WEIGHT, RIDGE = 40.0, 3.0
NAIVE = ("rect", "prune")
SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 24), st.integers(0, 2**31))


def property_test(examples, *strategies):
    return lambda test: settings(max_examples=examples, deadline=None, derandomize=True)(given(*strategies)(test))


def matrices(shape, size):
    """A matrix and a step [o, d], `size` times as large."""
    o, d, seed = shape
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(o, d, generator=generator, dtype=torch.float64) * scale for scale in (1.0, size))


def writer_of(restraint, aligned, against="current"):
    return RestrainedLeastSquares(second_moment_and_ridge(WEIGHT, RIDGE), restraint, against, aligned)


def unrestrained(step, matrix):
    return step


@property_test(60, SHAPES, st.floats(0.01, 1.0))
def test_rect_keeps_the_stated_share_of_entries_with_the_largest_ratio(shape, keep):
    matrix, step = matrices(shape, 0.1)
    kept = largest_relative_changes(keep)(step, matrix).numpy()
    step, matrix = step.numpy(), matrix.numpy()
    ratios = (np.abs(step) / (np.abs(matrix) + 1e-8)).ravel()
    count = max(1, round(keep * step.size))
    expected = np.zeros(step.size)
    largest = np.argsort(ratios)[step.size - count :]
    expected[largest] = step.ravel()[largest]
    assert np.count_nonzero(kept) == count
    assert np.array_equal(kept.ravel(), expected)


def test_rect_keeps_no_more_than_its_share_of_equal_ratios():
    step = torch.ones(5, 8, dtype=torch.float64)
    assert int(largest_relative_changes(0.3)(step, 2 * step).sum()) == 12


@property_test(60, SHAPES, st.floats(0.1, 100.0), st.floats(0.01, 100.0))
def test_prune_leaves_what_is_below_the_threshold_and_compresses_what_is_above(shape, size, scale):
    matrix, step = (scale * part for part in matrices(shape, size))
    pruned = compressed_singular_values(step, matrix)
    largest = np.linalg.svd(matrix.numpy(), compute_uv=False)[0]
    left, values, right = np.linalg.svd(step.numpy(), full_matrices=False)
    compressed = np.log(values) - np.log(largest) + largest
    expected = np.where(values > largest, np.minimum(values, compressed), values)
    assert np.allclose(pruned.numpy(), (left * expected) @ right, atol=1e-10 * values[0])
    if largest >= 1:  # as published: no value is enlarged
        assert (compressed <= values)[values > largest].all()
    if values[0] <= largest:
        assert torch.allclose(pruned, step, atol=0)


def test_prune_does_not_enlarge_where_the_published_formula_would():
    matrix = torch.diag(torch.tensor([0.1, 0.05], dtype=torch.float64))
    step = torch.diag(torch.tensor([0.2, 5.0], dtype=torch.float64))
    assert np.log(0.2) - np.log(0.1) + 0.1 > 0.2
    pruned = compressed_singular_values(step, matrix)
    assert torch.allclose(pruned.diagonal(), torch.tensor([0.2, np.log(50.0) + 0.1], dtype=torch.float64))


def test_a_step_that_is_not_finite_is_left_to_be_refused():
    step = torch.full((2, 3), float("nan"), dtype=torch.float64)
    assert compressed_singular_values(step, torch.ones_like(step)) is step


RESTRAINTS = {
    "rect": (largest_relative_changes(0.3), 1.0),
    "prune": (compressed_singular_values, 30.0),  # values so large that steps are compressed
    "none": (unrestrained, 1.0),
}


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("name", RESTRAINTS)
def test_steps_are_those_of_the_stated_equations(name, aligned):
    """Against the recursion with explicit inverses."""
    restraint, size = RESTRAINTS[name]
    batches = Batches(size=size)
    found, memory = batches.written(writer_of(restraint, aligned))
    matrix, remainder = batches.unedited, torch.zeros_like(batches.unedited)
    normal = WEIGHT * batches.c + RIDGE * batches.eye
    cut = 0.0
    for keys, values, now in zip(batches.keys, batches.values, found[1:], strict=True):
        normal = normal + keys @ keys.T
        step = ((values - matrix @ keys) @ keys.T - remainder) @ torch.linalg.inv(normal)
        made = restraint(step, matrix)
        if aligned:
            remainder = (made - step) @ normal
        cut = max(cut, ((made - step).norm() / step.norm()).item())
        matrix = matrix + made
        assert close(now, matrix)
    assert (cut > 0.05) == (name != "none")
    assert set(memory) == ({f"remainder.{LAYER}"} if aligned else set())
    if aligned:
        assert (memory[f"remainder.{LAYER}"] - remainder).norm() <= 1e-5 * (step @ normal).norm()


@pytest.mark.parametrize("name", ["rect", "prune"])
@pytest.mark.parametrize("seed", range(3))
def test_aligned_steps_end_at_the_solution_over_all_batches_once_a_step_is_made_in_full(name, seed):
    """Whatever was cut off before; naive steps do not end there."""
    restraint, size = RESTRAINTS[name]
    batches = Batches(seed, count=5, size=size)
    solution = batches.solution(WEIGHT * batches.c + RIDGE * batches.eye, 5)
    distances = {}
    for aligned in (True, False):
        calls = iter(range(5))

        def last_in_full(step, matrix, calls=calls):
            return step if next(calls) == 4 else restraint(step, matrix)

        end = batches.written(writer_of(last_in_full, aligned))[0][-1]
        distances[aligned] = ((end - solution).norm() / (solution - batches.unedited).norm()).item()
    assert distances[True] < 1e-6
    assert distances[False] > 0.05


def test_without_a_cut_steps_are_those_of_memit_with_history():
    batches = Batches()
    preserved = second_moment_and_ridge(WEIGHT, RIDGE)(batches.resources, LAYER)
    naive, aligned = (batches.written(writer_of(unrestrained, aligned))[0] for aligned in (False, True))
    matrix = batches.unedited
    for number, (one, two) in enumerate(zip(naive[1:], aligned[1:], strict=True)):
        located = batches.located(matrix, number)
        change = least_change(located.keys, located.residual, preserved, 1.0, located.past_keys)
        matrix = matrix + change.left.double() @ change.right.double().T
        assert close(one, matrix) and close(two, matrix)


def test_prune_holds_steps_against_the_matrix_that_is_named():
    batches = Batches(count=1, size=30.0)
    large = 1000 * batches.unedited
    located = batches.located(large, 0, residual=batches.values[0])
    steps = {}
    for against in ("current", "unedited"):
        writer = batches.prepared(writer_of(compressed_singular_values, False, against))
        steps[against] = writer.change(located, {}).step.double()
    keys = batches.keys[0]
    normal = WEIGHT * batches.c + RIDGE * batches.eye + keys @ keys.T
    step = batches.values[0] @ keys.T @ torch.linalg.inv(normal)
    assert close(steps["current"], step)
    assert close(steps["unedited"], compressed_singular_values(step, batches.unedited))
    assert not close(steps["unedited"], step, 0.05)


@cache
def drift(kind, **changed):
    """What two batches of two facts change of the edited matrices."""
    lm = small_models.language_model_of("llama")
    editor = declaration(kind).build(declaration(kind).Settings(**settings_of(kind).model_dump() | changed))
    editor.prepare(lm, small_models.resources(lm))
    memory = editor.begin(lm)

    def matrices():
        return torch.cat([lm.anatomy.down_projections[layer].matrix for layer in editor.layers])

    unedited = matrices()
    for start in (0, 2):
        editor.edit(lm, memory, small_models.facts()[start : start + 2])
    return matrices() - unedited


@pytest.mark.parametrize(
    ("kind", "changed"),
    [("rect", {"keep": 1.0}), ("rect_aligned", {"keep": 1.0}), ("prune", {}), ("prune_aligned", {})],
)
def test_editors_that_cut_nothing_are_memit_naive_without_history_and_aligned_with_it(kind, changed):
    """Steps of small models stay below PRUNE's threshold."""
    without, with_history = (drift("memit", remember=remember) for remember in ("nothing", "before_edit"))
    expected, other = (with_history, without) if kind.endswith("aligned") else (without, with_history)
    found = drift(kind, **changed)
    assert close(found, expected, 1e-3)
    assert (found - expected).norm() < 0.1 * (found - other).norm()


@pytest.mark.parametrize("kind", NAIVE)
def test_naive_and_aligned_differ_in_the_alignment_and_the_history_it_needs_alone(kind):
    naive, aligned = (declaration(name).Settings() for name in (kind, f"{kind}_aligned"))
    assert naive.model_dump() == aligned.model_dump() | {"remember": "nothing"}
    assert aligned.remember == "before_edit"


@pytest.mark.parametrize("kind", NAIVE)
@pytest.mark.parametrize("remember", ["nothing", "after_edit"])
def test_alignment_without_the_keys_of_its_systems_is_refused(kind, remember):
    with pytest.raises(ValidationError, match=rf"remember is '{remember}': what was cut off .* must be 'before_edit'"):
        declaration(f"{kind}_aligned").Settings(remember=remember)
    assert declaration(kind).Settings(remember=remember).remember == remember


@pytest.mark.parametrize(
    ("kind", "wrong", "said"),
    [
        ("rect", {"keep": 0.0}, "greater than 0"),
        ("rect_aligned", {"keep": 1.2}, "less than or equal to 1"),
        ("prune", {"threshold": "first"}, "'current' or 'unedited'"),
        ("prune_aligned", {"norm_weight": -1.0}, "greater than or equal to 0"),
    ],
)
def test_wrong_settings_are_refused(kind, wrong, said):
    with pytest.raises(ValidationError, match=said):
        declaration(kind).Settings(**wrong)
