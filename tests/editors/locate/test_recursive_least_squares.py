"""RLSEdit: penalising the distance from the unedited matrix is MEMIT with history and a norm weight, in every step."""

import pytest
import torch
from pydantic import ValidationError

from normgrowth.editors import encore, memit, rlsedit
from normgrowth.editors.locate.closed_forms import second_moment_and_ridge, weighted_second_moment
from normgrowth.editors.locate.method import ClosedFormWriter, with_slack
from tests.support import small_models
from tests.support.batches import LAYER, Batches, close

SMALL = {"layers": (0, 1), "steps": 8, "batch": 2, "preservation_weight": 1.0}


def steps_of(writer, batches):
    """The matrices after each batch, written by a closed form with history."""
    matrix, found = batches.unedited, []
    batches.prepared(writer)
    for number in range(len(batches.keys)):
        change = writer.change(batches.located(matrix, number), {})
        matrix = matrix + change.left.double() @ change.right.double().T
        found.append(matrix)
    return found


@pytest.mark.parametrize("ridge", [0.0, 0.5, 300.0])
@pytest.mark.parametrize("seed", range(3))
def test_every_step_ends_at_the_least_squares_solution_and_is_that_of_the_recursion(seed, ridge):
    """History with a norm weight, against all batches at once and against recursive least squares with that prior."""
    weight = 40.0
    batches = Batches(seed)
    prior = weight * batches.c + ridge * batches.eye
    inverse, matrix = torch.linalg.inv(prior), batches.unedited
    found = steps_of(ClosedFormWriter(second_moment_and_ridge(weight, ridge), with_slack(1.0)), batches)
    for number, (keys, values, now) in enumerate(zip(batches.keys, batches.values, found, strict=True)):
        gain = torch.linalg.inv(torch.eye(keys.shape[1], dtype=torch.float64) + keys.T @ inverse @ keys)
        inverse = inverse - inverse @ keys @ gain @ keys.T @ inverse  # of A_t, by Woodbury
        matrix = matrix + (values - matrix @ keys) @ keys.T @ inverse
        assert close(now, matrix)
        assert close(now, batches.solution(prior, number + 1))


def test_without_the_ridge_the_solution_is_another():
    batches = Batches()
    with_ridge, without = (batches.solution(40.0 * batches.c + r * batches.eye, 4) for r in (300.0, 0.0))
    assert not close(with_ridge, without, 0.05)


def test_a_ridge_left_out_is_encores_norm_weight_left_out():
    batches = Batches()
    settings = rlsedit.Settings()
    own = second_moment_and_ridge(settings.preservation_weight, settings.ridge_to_unedited)(batches.resources, LAYER)
    of_encore = weighted_second_moment(encore.Settings())(batches.resources, LAYER)
    assert (own.weight, own.ridge) == (of_encore.weight, of_encore.ridge)
    width = len(batches.c)
    assert own.ridge == pytest.approx(0.01 * width * batches.c.trace().item() / width)


def weights_after(editor, architecture):
    """The model's weights after two batches."""
    lm = small_models.language_model_of(architecture)
    editor.prepare(lm, small_models.resources(lm))
    memory = editor.begin(lm)
    for start in (0, 2):
        editor.edit(lm, memory, small_models.facts()[start : start + 2])
    return list(lm.model.parameters())


@pytest.mark.parametrize("architecture", small_models.ARCHITECTURES)
@pytest.mark.parametrize(
    ("ridge", "other"),
    [
        (0.3, encore.build(encore.Settings(**SMALL, norm_weight=0.3, most_probable_stop=0))),
        (None, encore.build(encore.Settings(**SMALL, most_probable_stop=0))),
        (0.0, memit.build(memit.Settings(**SMALL, remember="before_edit"))),
    ],
    ids=["ENCORE without its stop", "by default too", "without the ridge MEMIT with history"],
)
def test_it_is_bit_for_bit(architecture, ridge, other):
    own = rlsedit.build(rlsedit.Settings(**SMALL, ridge_to_unedited=ridge))
    assert all(map(torch.equal, weights_after(own, architecture), weights_after(other, architecture)))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"ridge_to_unedited": -1.0}, "greater than or equal to 0"),
        ({"norm_weight": 1.0}, "norm_weight"),
        ({"remember": "nothing"}, "remember"),
    ],
)
def test_wrong_settings_are_refused(wrong, said):
    with pytest.raises(ValidationError, match=said):
        rlsedit.Settings(**wrong)
