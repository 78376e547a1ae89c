"""PMET's search against its published schedule, in float64 and without the editors' code."""

import pytest

from benchmarks import plain
from normgrowth.editors import pmet
from normgrowth.editors.locate.search import Relaxation, Search, search_targets
from normgrowth.editors.settings import SearchSettings
from tests.support import small_models
from tests.support.pmet_oracle import hold_nearly_known, published_search

CONTEXTS = small_models.CONTEXTS["uniform"]
LAYER = 1
PLACES = ((LAYER, "attention_output"), (LAYER, "mlp_output"))
PUBLISHED = Relaxation(likelihood_factor=0.1, divergence_stop=0.01)
FACT = small_models.facts()[1]
CLOSE = 2e-5  # float32 beside float64; a wrong schedule is off by 1e-2 or more


def settings_of(**changes) -> SearchSettings:
    return SearchSettings(**{"steps": 16, "learning_rate": 0.5, "weight_decay": 0.5, "clamp": 6.0, **changes})


def searched(architecture, settings, margin=0.05, facts=(FACT,)):
    """What the oracle found of FACT, and that the library and the plain implementation found the same."""
    lm = small_models.language_model_of(architecture)
    hold_nearly_known(lm, FACT, CONTEXTS, margin)
    expected = published_search(lm, architecture, FACT, CONTEXTS, LAYER, settings, 0.1, 0.01)
    found = search_targets(lm, list(facts), CONTEXTS, Search(PLACES, settings, PUBLISHED))
    number = facts.index(FACT)
    by_plain, steps = plain.search(lm, FACT, CONTEXTS, list(PLACES), settings, PUBLISHED)
    assert found.steps[number] == steps == expected.steps
    for value in (found.values[number], by_plain):
        assert (value.double() - expected.target).norm() <= CLOSE * expected.target.norm()
    return expected


@pytest.mark.parametrize("architecture", small_models.ARCHITECTURES)
@pytest.mark.parametrize("facts", [(FACT,), tuple(small_models.facts())])
def test_the_likelihood_factor_falls_a_pass_later_and_returns_to_one(architecture, facts):
    expected = searched(architecture, settings_of(kl_factor=1.0), facts=facts)
    assert expected.end == "passes" and len(expected.factors) == 16
    # It really goes 1, 0.1, 1, and each pass decides for the next one.
    assert expected.factors[0] == 1.0
    assert expected.factors[1:] == [0.1 if won else 1.0 for won in expected.wins[:-1]]
    falls = [a > b for a, b in zip(expected.factors[:-1], expected.factors[1:], strict=True)]
    rises = [a < b for a, b in zip(expected.factors[:-1], expected.factors[1:], strict=True)]
    assert any(falls) and any(rises)


@pytest.mark.parametrize("architecture", small_models.ARCHITECTURES)
def test_the_search_stops_by_the_weighed_divergence_where_the_raw_one_is_large(architecture):
    expected = searched(architecture, settings_of(kl_factor=0.0625))
    assert expected.end == "divergence" and 0 < expected.steps < 15
    assert 0.0625 * expected.divergences[-1] <= 0.01 < expected.divergences[-1]


@pytest.mark.parametrize("architecture", small_models.ARCHITECTURES)
def test_a_small_raw_divergence_does_not_stop_the_search_where_the_weighed_one_is_large(architecture):
    expected = searched(architecture, settings_of(kl_factor=20.0, learning_rate=0.05), margin=0.002)
    went_on = list(zip(expected.divergences, expected.wins, strict=True))[: expected.steps]
    assert any(won and divergence <= 0.01 < 20.0 * divergence for divergence, won in went_on)


@pytest.mark.parametrize("architecture", small_models.ARCHITECTURES)
def test_a_small_loss_ends_the_search_before_the_object_has_its_say(architecture):
    """The stop loss is compared with the loss that the pass before has weighed."""
    long = settings_of(kl_factor=0.0625, learning_rate=1.0, weight_decay=0.0, steps=40)
    fast = Relaxation(0.1, divergence_stop=0.0)
    lm = small_models.language_model_of(architecture)
    hold_nearly_known(lm, FACT, CONTEXTS, 0.05)
    settings = long.model_copy(update={"stop_loss": 0.5})
    expected = published_search(lm, architecture, FACT, CONTEXTS, LAYER, settings, 0.1, 0.0)
    assert expected.end == "loss" and expected.factors[-1] == 0.1
    found = search_targets(lm, [FACT], CONTEXTS, Search(PLACES, settings, fast))
    assert found.steps[0] == expected.steps
    assert (found.values[0].double() - expected.target).norm() <= CLOSE * expected.target.norm()


def test_the_published_schedule_is_the_editors_default():
    chosen = pmet.Settings(layers=(1,))
    assert pmet.build(chosen).method.relaxation == PUBLISHED
