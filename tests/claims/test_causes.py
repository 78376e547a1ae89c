"""What control arms and many editors say about the causes of damage, on planted runs."""

import pytest

from normgrowth.claims.judge import judge
from tests.claims.test_claims import verdicts
from tests.support import planted
from tests.support.planted import Run

EDITOR = Run(editor="r_rome", perplexity_growth=0.02, fading=0.02)


def status_of(claim: dict) -> str:
    """The status of a claim that has one verdict."""
    (found,) = claim["verdicts"]
    return found["status"]


def arm(kind: str, **effects) -> Run:
    return Run(editor=f"{kind}-r_rome", **{"perplexity_growth": 0.02, "fading": 0.02, **effects})


@pytest.mark.parametrize(
    ("restored", "scaled", "statuses"),
    [
        (0.0, 0.02, ("supported", "supported", "supported")),
        (0.02, 0.0, ("negligible", "negligible", "negligible")),
        (0.05, -0.02, ("opposite", "opposite", "opposite")),
        (0.0, 0.0, ("supported", "negligible", "undecided")),
        (0.02, 0.02, ("negligible", "supported", "undecided")),
    ],
)
def test_control_arms_tell_causes_apart(restored, scaled, statuses):
    """Damage with the norm held, and from the norm alone: which of them is there decides."""
    runs = EDITOR, arm("norm_restored", perplexity_growth=restored), arm("scale_only", perplexity_growth=scaled)
    judged = {c["id"]: c for c in judge(planted.tables(*runs))["claims"]}
    claims = ("restoring_norm_protects", "norm_alone_harms", "imbalance_harms")
    assert tuple(status_of(judged[claim]) for claim in claims) == statuses


def test_an_editor_that_does_no_damage_leaves_nothing_to_protect():
    runs = Run(editor="r_rome", perplexity_growth=0.0), arm("norm_restored", perplexity_growth=0.0)
    judged = {c["id"]: c for c in judge(planted.tables(*runs))["claims"]}
    assert status_of(judged["restoring_norm_protects"]) == "undecided"
    assert status_of(judged["imbalance_harms"]) == "undecided"
    assert "missing" in judged["imbalance_harms"]["verdicts"][0]["reading"]


def test_a_model_spared_by_undoing_its_edits_proves_nothing():
    runs = EDITOR, arm("norm_restored", perplexity_growth=0.0, loss=0.015), arm("scale_only")
    judged = {c["id"]: c for c in judge(planted.tables(*runs))["claims"]}
    (found,) = judged["restoring_norm_protects"]["verdicts"]
    assert found["status"] == "undecided" and "takes the edits back" in found["reading"]
    assert status_of(judged["imbalance_harms"]) == "undecided"


def test_a_collapse_that_the_restored_norm_prevents_supports():
    judged = {c["id"]: c for c in judge(planted.tables(Run(collapse=40), arm("norm_restored")))["claims"]}
    assert status_of(judged["restoring_norm_protects"]) == "supported"


@pytest.mark.parametrize(("sign", "status"), [(1, "supported"), (-1, "opposite")])
def test_growth_and_damage_of_many_editors(sign, status):
    names = ["ft", "lora", "mend", "rome", "r_rome", "memit", "emmet", "encore"]
    runs = [
        Run(editor=name, growth=0.005 * (i + 1), perplexity_growth=0.02 + sign * 0.002 * i)
        for i, name in enumerate(names)
    ]
    (found,) = verdicts("norm_growth_tracks_damage", *runs)
    assert found["status"] == status
    assert found["effect"] == pytest.approx(sign)
    assert found["measures"][1]["name"].startswith("the same over families") and found["measures"][1]["n"] == 3


def test_families_that_say_the_reverse_of_their_editors_decide_nothing():
    """Many variants of one method can make a correlation by themselves."""
    variants = [Run(editor=f"memit-{i}", growth=0.02 + 0.001 * i, perplexity_growth=0.02 + 0.001 * i) for i in range(8)]
    others = [Run(editor="ft", growth=0.001, perplexity_growth=0.05), Run(editor="mend", growth=0.002)]
    others[1] = Run(editor="mend", growth=0.005, perplexity_growth=0.04)
    (found,) = verdicts("norm_growth_tracks_damage", *variants, *others)
    assert found["status"] == "undecided" and found["measures"][1]["effect"] < 0


def test_two_families_have_no_veto():
    runs = [Run(editor=f"memit-{i}", growth=0.02 + 0.001 * i, perplexity_growth=0.02 + 0.001 * i) for i in range(8)]
    (alone,) = verdicts("norm_growth_tracks_damage", *runs)
    (beside,) = verdicts("norm_growth_tracks_damage", *runs, Run(editor="ft", growth=0.0215, perplexity_growth=0.0245))
    assert {alone["status"], beside["status"]} == {"supported"}
    assert all("families" not in found["reading"] and "nan" not in found["reading"] for found in (alone, beside))


def test_an_editor_that_breaks_its_model_ranks_as_the_most_damaging():
    runs = [Run(editor=f"memit-{i}", growth=0.01 + 0.001 * i, perplexity_growth=0.01 + 0.001 * i) for i in range(7)]
    (found,) = verdicts("norm_growth_tracks_damage", *runs, Run(editor="rome", growth=0.0, collapse=40))
    assert found["status"] == "supported" and found["effect"] == pytest.approx(1) and found["n"] == 8
    assert "ranked as the largest: rome" in found["reading"]


def test_editors_are_compared_pair_by_pair_on_the_same_facts():
    runs = Run(editor="ft", loss=0.0), Run(editor="memit", loss=0.015), Run(editor="emmet", loss=0.015)
    compared = {(c["first"], c["second"]): c for c in judge(planted.tables(*runs, arm("scale_only")))["comparisons"]}
    assert set(compared) == {("ft", "memit"), ("ft", "emmet"), ("memit", "emmet")}
    assert compared["ft", "memit"]["low"] > 0 and compared["ft", "memit"]["p_adjusted"] < 0.01
    assert compared["memit", "emmet"]["low"] < 0 < compared["memit", "emmet"]["high"]
    assert all(c["p_adjusted"] >= c["p"] for c in compared.values())
