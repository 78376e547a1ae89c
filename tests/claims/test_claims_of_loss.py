"""Claims about what edits cost get the verdicts that planted losses deserve: lost facts, trends, perplexity."""

import pytest

from normgrowth.analysis.edit_scores import PARTS_OF_S
from tests.claims.test_claims import judged_alone, verdict, verdicts
from tests.support import planted
from tests.support.planted import Run


@pytest.mark.parametrize(
    ("loss", "orders", "status"),
    [(0.02, 1, "supported"), (0.02, 3, "supported"), (0.002, 1, "undecided"), (0.0, 8, "negligible")],
)
def test_lost_edits(loss, orders, status):
    found = verdict("editing_performance_declines", Run(loss=loss, orders=orders))
    assert found["status"] == status
    assert [m["name"][:2] for m in found["measures"]] == ["me", "ES", "PS", "NS", "S,"]


def test_neighbours_that_recover_do_not_hide_lost_edits():
    """S may rise while the edits are lost."""
    tables = planted.tables(Run(loss=0.02))
    scores = tables["scores"]
    scores.loc[scores["moment"] == "immediate", "ns"] = 0.1
    (found,) = judged_alone("editing_performance_declines", tables)["verdicts"]
    assert found["status"] == "supported" and found["measures"][-1]["effect"] > 0


def test_edits_that_never_took_are_nothing_to_lose():
    tables = planted.tables(Run())
    tables["scores"].loc[tables["scores"]["moment"] != "unedited", ["es", "ps"]] = 0.0
    (found,) = judged_alone("editing_performance_declines", tables)["verdicts"]
    assert found["status"] == "not measured" and "nothing to lose" in found["reading"]


@pytest.mark.parametrize("claim", ["editing_performance_declines", "editing_gets_worse"])
def test_few_facts_decide_nothing(claim):
    found = verdict(claim, Run(edits=8, checkpoints=(8,), cases=8, loss=0.1))
    assert found["status"] == "too short" and "too few" in found["reading"]


@pytest.mark.parametrize(("fading", "status"), [(0.015, "supported"), (0.0, "negligible")])
def test_editing_gets_worse(fading, status):
    found = verdict("editing_gets_worse", Run(fading=fading, edits=100, checkpoints=(100,)))
    assert found["status"] == status
    p = found["measures"][-1]["effect"]
    assert p <= 0.01 if fading else p > 0.01


def test_edits_of_facts_edited_before_are_no_trend():
    """From the middle on every second edit is a later one of an earlier fact, and fails."""
    tables = planted.tables(Run(edits=100, checkpoints=(100,)))
    scores = tables["scores"]
    later = (scores["moment"] == "immediate") & (scores["step"] > 50) & (scores["step"] % 2 == 0)
    scores.loc[later, PARTS_OF_S] = 0.0
    assert judged_alone("editing_gets_worse", tables)["verdicts"][0]["status"] == "supported"
    scores.loc[later, "case_id"] -= 50
    (found,) = judged_alone("editing_gets_worse", tables)["verdicts"]
    assert found["status"] == "negligible" and found["n"] == 75 and "100 edits" in found["reading"]


def test_a_loss_is_that_of_the_latest_edit():
    """Facts are edited twice: first in vain, then for good; neither edit's scores are taken for the other's."""
    tables = planted.tables(Run(edits=100, checkpoints=(100,), cases=100, loss=0.0))
    scores = tables["scores"]
    scores.loc[scores["case_id"].between(1051, 1100), "case_id"] -= 50
    first = scores["edited_at"] <= 50
    scores.loc[first & (scores["moment"] == "immediate"), PARTS_OF_S] = 0.0
    tables["scores"] = scores[~(first & (scores["moment"] == "retention"))]
    (found,) = judged_alone("editing_performance_declines", tables)["verdicts"]
    assert found["n"] == 50 and found["effect"] == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize(
    ("calls", "orders", "status"),
    [(5, 1, "too short"), (10, 1, "supported"), (2, 8, "too short"), (5, 8, "supported")],
)
def test_calls_are_the_units_of_a_trend(calls, orders, status):
    """Calls in a random order decide in one edit order; the spread over orders needs fewer of each."""
    tables = planted.tables(Run(editor="memit", fading=0.008, edits=100, checkpoints=(100,), orders=orders))
    scores = tables["scores"]
    immediate, facts = scores["moment"] == "immediate", 100 // calls
    scores.loc[immediate, "step"] = -(-scores.loc[immediate, "step"] // facts) * facts
    (found,) = judged_alone("editing_gets_worse", tables)["verdicts"]
    assert found["status"] == status
    assert found["n"] == calls * orders if status == "supported" else f"{calls} calls" in found["reading"]


def test_a_trend_over_several_orders_says_what_its_interval_says():
    """Each order's random orders would be sure; two orders that differ are not."""
    tables = planted.tables(Run(orders=2, edits=100, checkpoints=(100,), fading=0.001))
    scores = tables["scores"]
    steep = (scores["moment"] == "immediate") & (scores["order"] == 1) & (scores["step"] > 50)
    scores.loc[steep, ["es", "ps", "ns"]] *= 0.6
    (found,) = judged_alone("editing_gets_worse", tables)["verdicts"]
    assert found["measures"][-1]["effect"] < 0.01
    assert found["low"] < 0 < found["high"] and found["status"] == "undecided"


@pytest.mark.parametrize(
    ("growth", "orders", "status"),
    [
        (0.02, 1, "supported"),
        (0.0016, 1, "undecided"),
        (0.0005, 1, "negligible"),
        (-0.01, 1, "opposite"),
        (0.02, 3, "supported"),
    ],
)
def test_perplexity(growth, orders, status):
    assert verdict("general_ability_declines", Run(perplexity_growth=growth, orders=orders))["status"] == status


def test_one_order_speaks_of_its_run_and_several_of_the_editor():
    one, three = (verdict("general_ability_declines", Run(orders=orders)) for orders in (1, 3))
    assert "in this run" in one["reading"] and "over 3 edit orders" in three["reading"]
    claim = judged_alone("general_ability_declines", planted.tables(Run(orders=3), Run(editor="memit")))
    assert sum(claim["counts"].values()) == 2 and sum(claim["over_orders"].values()) == 1


def test_many_runs_need_more_evidence_than_one():
    """Runs without any effect, each tested at 5%: Holm keeps a false finding from becoming likely with their number."""
    runs = [Run(editor=f"memit-{i}", perplexity_growth=0.002) for i in range(30)]
    found = verdicts("general_ability_declines", *runs)
    assert any("supported by itself" in v["reading"] for v in found)
    assert all((v["p"] < 0.05) == (v["status"] != "undecided") for v in found)
