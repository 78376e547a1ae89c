"""Verdicts on norm and direction, on planted runs."""

import pytest

from normgrowth.claims.judge import judge
from tests.support import planted
from tests.support.planted import Run

QUESTIONS = ("norm_breaks_model", "direction_breaks_model", "norm_breaks_more")


def judged(*runs: Run) -> dict[str, list[dict]]:
    return {claim["id"]: claim["verdicts"] for claim in judge(planted.tables(*runs))["claims"]}


@pytest.mark.parametrize(
    ("effects", "statuses"),
    [
        ({"norm_effect": 0.01, "direction_effect": 0.0}, ("supported", "negligible", "supported")),
        ({"norm_effect": 0.0, "direction_effect": 0.01}, ("negligible", "supported", "opposite")),
        ({"norm_effect": -0.01, "direction_effect": 0.02}, ("opposite", "supported", "opposite")),
        ({"norm_effect": 0.01, "direction_effect": 0.01}, ("supported", "supported", "negligible")),
        ({"norm_effect": 0.0, "direction_effect": 0.0}, ("negligible", "negligible", "negligible")),
    ],
)
def test_norm_only_direction_only_and_both(effects, statuses):
    found = judged(Run(orders=8, **effects))
    assert tuple(found[claim][0]["status"] for claim in QUESTIONS) == statuses


def test_what_only_both_together_do_is_said():
    (verdict,) = judged(Run(orders=8, norm_effect=0.005, direction_effect=0.005, interaction=0.01))["norm_breaks_model"]
    measures = {measure["name"]: measure["effect"] for measure in verdict["measures"]}
    assert measures["interaction"] == pytest.approx(1.82, rel=0.05)  # exp(60 * 0.01)
    assert measures["effect on ES"] == 0.0


def test_four_contrasts_of_eight_orders_can_be_sure():
    """The least p-value of eight orders, 2 / 256, stays below 5% when it is adjusted for four contrasts."""
    runs = [Run(model=model, editor=editor, orders=8) for model in ("a", "b") for editor in ("r_rome", "memit")]
    found = judged(*runs)["direction_breaks_model"]
    assert [verdict["status"] for verdict in found] == ["supported"] * 4
    assert {verdict["p"] for verdict in found} == {4 * 2 / 256}


def test_rounding_on_one_side_has_no_direction():
    """Behind a norm the scale matters by the constant inside the norm alone, in every order on the same side."""
    assert judged(Run(orders=8, norm_effect=1e-7))["norm_breaks_model"][0]["status"] == "negligible"


def test_fewer_orders_are_not_judged():
    found = judge(planted.tables(Run(orders=5)))["claims"]
    (claim,) = [claim for claim in found if claim["id"] == "norm_breaks_model"]
    assert not claim["verdicts"] and "six edit orders" in claim["needs"]


def test_a_collapse_is_said():
    assert judged(Run(orders=6, collapse=30))["norm_breaks_model"][0]["status"] == "collapsed"


def test_damage_where_the_norm_cannot_matter():
    found = judged(Run(norm_effect=0.0, post_norm=True), Run(model="pre"))["damage_where_norm_cannot_matter"]
    (verdict,) = found  # the model without such a norm has no verdict
    assert verdict["status"] == "supported" and verdict["model"] == "tiny-gpt2"
    measures = {measure["name"]: measure["effect"] for measure in verdict["measures"]}
    assert measures["norm of the edited matrices over unedited"] > 1.5
    assert measures["effect of the norm"] == pytest.approx(1.0, abs=0.05)


def test_a_model_that_stays_whole_there_is_no_damage():
    run = Run(norm_effect=0.0, direction_effect=0.0, between=0.001, post_norm=True)
    assert judged(run)["damage_where_norm_cannot_matter"][0]["status"] == "negligible"


def test_the_answer_stands_in_one_paragraph():
    runs = [Run(model=model, orders=8, norm_effect=0.01, direction_effect=0.0) for model in ("a", "b")]
    said = judge(planted.tables(*runs))["finding"]
    assert "the grown norm damages the model in 2 of 2 pairs of editor and model" in said
    assert "the direction hardly matters in 2" in said
    assert "r_rome on a: norm 1.8" in said


def test_without_enough_orders_there_is_no_answer():
    assert judge(planted.tables(Run(orders=2)))["finding"] == ""
