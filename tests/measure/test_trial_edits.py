"""Trial edits: the same scores as single edits of a study, refusals counted, the model left as it was."""

import pytest
import torch

from normgrowth.editors.registry import declaration
from normgrowth.errors import EditError, ModelError
from normgrowth.measure import trial_edits
from normgrowth.measure.gathering import Gathered, gather_moments, layers_with_moments
from normgrowth.measure.scores import score_single_edits
from normgrowth.measure.trial_edits import SCORES, try_editor
from tests.support import small_models
from tests.support.every_editor import settings_of

TRIED = ("ft", "lora", "r_rome", "memit", "alphaedit", "nas")


def gathered(lm) -> Gathered:
    resources = small_models.resources(lm)
    return Gathered(resources.contexts, resources.second_moments, resources.facts, resources.seed)


def weights(lm) -> list[torch.Tensor]:
    return [parameter.clone() for parameter in lm.model.parameters()]


@pytest.mark.parametrize("kind", TRIED)
def test_a_trial_is_the_mean_of_single_edits(lm, kind):
    settings, facts, before = settings_of(kind), small_models.facts()[:3], weights(lm)
    found = try_editor(lm, kind, settings, gathered(lm), facts)
    assert all(map(torch.equal, weights(lm), before))
    editor = declaration(kind).build(settings)
    editor.prepare(lm, gathered(lm).resources(settings))
    expected = score_single_edits(lm, editor, editor.begin(lm), facts)
    assert (found.asked, found.made, found.refusal) == (3, 3, None)
    assert list(found.scores.values()) == pytest.approx(expected[list(SCORES)].mean().tolist())
    edited = torch.cat([lm.anatomy.down_projections[layer].matrix.flatten() for layer in found.layers])
    assert found.change == pytest.approx(expected["delta_frobenius"].mean() / edited.norm().item(), rel=1e-5)
    assert found.seconds > 0 and found.loss > 0


def test_a_refused_edit_is_counted_and_leaves_nothing_behind(lm, monkeypatch):
    facts, before, first = small_models.facts()[:3], weights(lm), []

    def refusing(lm, editor, memory, part):
        first.append(all(map(torch.equal, weights(lm), before)))
        if part == [facts[1]]:
            lm.anatomy.down_projections[1].matrix.mul_(2)
            raise EditError("it overflows")
        return score_single_edits(lm, editor, memory, part)

    monkeypatch.setattr(trial_edits, "score_single_edits", refusing)
    found = try_editor(lm, "ft", settings_of("ft"), gathered(lm), facts)
    assert (found.asked, found.made, found.refusal) == (3, 2, "case 11: it overflows")
    assert first == [True, True, True] and all(map(torch.equal, weights(lm), before))


def test_an_editor_that_cannot_begin_says_why(lm):
    settings = settings_of("alphaedit").model_copy(update={"null_space_threshold": 1e-12})
    found = try_editor(lm, "alphaedit", settings, gathered(lm), small_models.facts()[:2])
    assert (found.made, found.change, found.seconds) == (0, None, None)
    assert set(found.scores.values()) == {None}
    assert "has no eigenvalue below it" in found.refusal


def test_a_fault_of_the_program_is_none_of_the_editor(lm, monkeypatch):
    def faulty(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(trial_edits, "score_single_edits", faulty)
    with pytest.raises(ZeroDivisionError):
        try_editor(lm, "ft", settings_of("ft"), gathered(lm), small_models.facts()[:1])


def test_second_moments_are_gathered_where_an_editor_needs_them(lm):
    chosen = [settings_of(kind) for kind in ("ft", "r_rome", "memit", "alphaedit")]
    assert layers_with_moments(chosen) == [0, 1]
    assert layers_with_moments(chosen[:1]) == []
    ids = torch.randint(1, 300, (40, 8), generator=torch.Generator().manual_seed(0))
    moments = gather_moments(lm, ids, [1])
    assert list(moments) == [1] and moments[1].count == ids.numel()


def test_null_spaces_are_found_once_for_each_threshold(lm):
    found, settings = gathered(lm), settings_of("alphaedit")
    spaces = found.resources(settings).null_spaces
    assert list(spaces) == [0, 1]
    assert found.resources(settings).null_spaces[0] is spaces[0]
    other = found.resources(settings.model_copy(update={"null_space_threshold": None})).null_spaces
    assert other[0] is not spaces[0]
    assert found.resources(settings_of("memit")).null_spaces == {}
    with pytest.raises(ModelError, match="no eigenvalue below"):
        found.resources(settings.model_copy(update={"null_space_threshold": 1e-12}))
