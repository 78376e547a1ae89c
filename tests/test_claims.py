"""Planted effects get the verdicts they deserve."""

import argparse
import json

import numpy as np
import pytest

from normgrowth.claims.catalogue import CLAIMS
from normgrowth.claims.judge import judge
from normgrowth.claims.markdown import as_markdown
from normgrowth.claims.published import Conditions, against_published
from normgrowth.commands import claims as command
from normgrowth.errors import ArtefactError
from normgrowth.families import CONTROL, FAMILIES, controlled_editor, in_order, is_control
from tests import planted
from tests.planted import Run


def verdict(claim: str, run: Run, **options) -> dict:
    """The one verdict on `claim` for a planted run."""
    judged = judge(planted.tables(run, **options))
    (found,) = next(c for c in judged["claims"] if c["id"] == claim)["verdicts"]
    return found


GROWS = "locate_edits_grow"


def test_planted_growth_is_supported():
    found = verdict(GROWS, Run(growth=0.01, edits=60))
    assert found["status"] == "supported"
    assert found["low"] < np.exp(0.6) < found["high"]
    assert found["n"] == 60
    assert "after 60 edits" in found["reading"].lower()


@pytest.mark.parametrize("growth", [0.0, 1e-5, -0.01])
def test_no_growth_tiny_growth_and_shrinking_are_contradicted(growth):
    assert verdict(GROWS, Run(growth=growth, noise=abs(growth) / 10))["status"] == "contradicted"


def test_noise_is_undecided():
    assert verdict(GROWS, Run(growth=0.0, noise=0.05))["status"] == "undecided"


def test_one_jump_is_not_growth_edit_by_edit():
    tables = planted.tables(Run(growth=0.0, noise=0.0, edits=100, checkpoints=(100,)))
    norms = tables["norms"]
    late = (norms["role"] == "edited") & (norms["step"] >= 30)
    norms.loc[late, ["frobenius", "frobenius_ratio"]] *= 3
    (found,) = next(c for c in judge(tables)["claims"] if c["id"] == GROWS)["verdicts"]
    assert found["status"] == "undecided"


def test_one_shrinking_matrix_contradicts_growth():
    tables = planted.tables(Run(editor="memit", layers=(1, 2, 3), growth=0.02, noise=0.002))
    norms = tables["norms"]
    shrinking = (norms["layer"] == 3) & (norms["role"] == "edited")
    norms.loc[shrinking, "frobenius_ratio"] = np.exp(-0.005 * norms.loc[shrinking, "step"])
    (found,) = next(c for c in judge(tables)["claims"] if c["id"] == GROWS)["verdicts"]
    assert found["status"] == "contradicted"
    assert "h.3.mlp" in found["reading"]
    assert len(found["measures"]) == 4


@pytest.mark.parametrize("claim", [GROWS, "activation_norm_falls", "orientation_drifts", "general_ability_declines"])
def test_collapse_is_said(claim):
    found = verdict(claim, Run(collapse=40))
    assert found["status"] == "collapsed"
    assert "40" in found["reading"]


def test_collapse_at_the_first_edit_is_said():
    found = verdict(GROWS, Run(collapse=1))
    assert found["status"] == "collapsed" and "nan" not in found["reading"]


def test_too_few_edits_give_no_interval():
    found = verdict(GROWS, Run(edits=3, checkpoints=(3,)))
    assert (found["status"], found["low"]) == ("undecided", None)
    assert "too short" in found["reading"]


def test_growth_is_localized_only_while_controls_are_exactly_still():
    assert verdict("growth_is_localized", Run())["status"] == "supported"
    moved = verdict("growth_is_localized", Run(control_drift=1e-6))
    assert moved["status"] == "contradicted" and "no edit touches" in moved["reading"]
    assert verdict("growth_is_localized", Run(growth=0.0, noise=0.0))["status"] == "undecided"


@pytest.mark.parametrize(
    ("change", "status"), [(-0.004, "supported"), (0.004, "contradicted"), (-0.00017, "undecided")]
)
def test_activation_norm(change, status):
    assert verdict("activation_norm_falls", Run(norm_change=change))["status"] == status


@pytest.mark.parametrize(("turn", "status"), [(0.01, "supported"), (0.0, "contradicted"), (0.00236, "undecided")])
def test_orientation(turn, status):
    assert verdict("orientation_drifts", Run(turn=turn))["status"] == status


def test_activations_are_reported_at_every_place():
    measures = verdict("activation_norm_falls", Run(layers=(2,)))["measures"]
    assert measures[0]["name"] == "residual stream, last layer, text"
    assert {m["name"].split(",")[0] for m in measures} == {"residual stream", "MLP output", "attention output"}


@pytest.mark.parametrize(("loss", "status"), [(0.01, "supported"), (-0.01, "undecided")])
def test_lost_edits(loss, status):
    found = verdict("editing_performance_declines", Run(loss=loss))
    assert found["status"] == status
    assert [m["name"][:2] for m in found["measures"]] == ["S,", "ES", "PS", "NS", "NS"]


def test_edits_that_never_took_are_nothing_to_lose():
    tables = planted.tables(Run())
    tables["scores"].loc[tables["scores"]["moment"] != "unedited", "es"] = 0.0
    claim = next(c for c in judge(tables)["claims"] if c["id"] == "editing_performance_declines")
    assert claim["status"] == "undecided" and "nothing to lose" in claim["verdicts"][0]["reading"]


def test_few_facts_decide_nothing():
    found = verdict("editing_performance_declines", Run(edits=8, checkpoints=(8,), cases=8, loss=0.1))
    assert found["status"] == "undecided" and "too few" in found["reading"]


@pytest.mark.parametrize(
    ("growth", "orders", "status"),
    [(0.02, 1, "supported"), (0.0016, 1, "undecided"), (0.001, 1, "contradicted"), (0.02, 3, "supported")],
)
def test_perplexity(growth, orders, status):
    assert verdict("general_ability_declines", Run(perplexity_growth=growth, orders=orders))["status"] == status


def test_one_checkpoint_is_enough_and_is_said():
    found = verdict("activation_norm_falls", Run(checkpoints=(60,)))
    assert found["status"] == "supported" and "only checkpoint" in found["reading"]


def test_no_checkpoint_is_not_measured():
    for claim in ("activation_norm_falls", "editing_performance_declines", "general_ability_declines"):
        assert verdict(claim, Run(checkpoints=()))["status"] == "not measured"


def test_absent_editors_and_unmeasured_claims_say_what_it_would_take():
    judged = {c["id"]: c for c in judge(planted.tables(Run()))["claims"]}
    assert list(judged) == [claim.id for claim in CLAIMS]
    missing = [c for c in judged.values() if c["status"] == "not measured"]
    assert {c["id"] for c in missing} >= {"fine_tuning_edits_grow", "hypernetwork_edits_grow", "imbalance_harms"}
    assert all(c["needs"] for c in missing)


def test_no_data_at_all_is_not_measured():
    assert {c["status"] for c in judge(planted.tables())["claims"]} == {"not measured"}


def test_claims_differ_by_editor_and_variants_belong_to_their_family():
    runs = [Run(editor="ft"), Run(editor="ft-fast", growth=0.0, noise=0.0), Run(editor="mine")]
    judged = judge(planted.tables(*runs))
    claim = next(c for c in judged["claims"] if c["id"] == "fine_tuning_edits_grow")
    assert claim["status"] == "mixed" and claim["counts"] == {"supported": 1, "contradicted": 1}
    assert judged["editors_without_family"] == ["mine"]


ABOUT_ARMS = ("imbalance_harms", "restoring_norm_protects", "norm_alone_harms")


def test_control_arms_are_never_judged_themselves():
    editors = [Run(editor="ft"), Run(editor="memit"), Run(editor="mend", growth=0.0, noise=0.0)]
    arms = [Run(editor=f"{kind}-memit", growth=-0.01, loss=0.05) for kind in FAMILIES[CONTROL]]
    alone, beside = judge(planted.tables(*editors)), judge(planted.tables(*editors, *arms))
    for before, after in zip(alone["claims"], beside["claims"], strict=True):
        if before["id"] in ABOUT_ARMS:
            assert [v["editor"] for v in after["verdicts"]] == ["memit"] and not before["verdicts"]
            continue
        assert [v["editor"] for v in before["verdicts"]] == [v["editor"] for v in after["verdicts"]]
        assert before["status"] == after["status"] and before["counts"] == after["counts"]
    assert beside["control_arms"] == sorted(run.editor for run in arms)
    assert beside["editors_without_family"] == []
    assert "Control arms are not judged themselves: norm_restored-memit" in as_markdown(beside)
    only = judge(planted.tables(*arms))
    assert {claim["status"] for claim in only["claims"]} == {"not measured"}


def test_a_control_arm_is_known_by_its_kind_and_names_what_it_controls():
    assert is_control("scale_only-r_rome") and not is_control("r_rome") and not is_control("mine")
    assert controlled_editor("norm_restored-memit-history") == "memit-history"
    assert controlled_editor("memit-history") is None and controlled_editor("scale_only") is None
    assert in_order(["mine", "scale_only-memit", "memit-weak", "nas", "memit", "ft", "norm_restored-memit"]) == [
        *("ft", "memit", "memit-weak", "nas", "norm_restored-memit", "scale_only-memit", "mine")
    ]


def test_windows_of_text_are_the_units():
    from normgrowth.claims import probes
    from normgrowth.measure import activations

    assert probes.VECTORS_PER_WINDOW == activations.POSITIONS_PER_WINDOW


def test_command_writes_the_same_bytes_twice_and_rejects_damage(tmp_path):
    planted.write(tmp_path / "tables", planted.tables(Run(orders=2), Run(editor="ft", collapse=30)))
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)

    def run(name):
        out = [tmp_path / f"{name}.json", tmp_path / f"{name}.md"]
        given = ["--study", planted.STUDY, "--tables", f"{tmp_path}/tables"]
        command.run(parser.parse_args([*given, "--out-json", f"{out[0]}", "--out-md", f"{out[1]}"]))
        return [path.read_bytes() for path in out]

    assert run("a") == run("b")
    judged = json.loads((tmp_path / "a.json").read_text())
    assert as_markdown(judged) == (tmp_path / "a.md").read_text()
    assert "NaN" not in (tmp_path / "a.json").read_text()

    table = tmp_path / "tables" / "norms.parquet"
    table.write_bytes(table.read_bytes()[:200])
    with pytest.raises(ArtefactError, match="damaged"):
        run("c")


@pytest.mark.parametrize(("departure", "status"), [(0.003, "supported"), (0.0, "contradicted"), (0.0008, "undecided")])
def test_leaving_the_subspace(departure, status):
    found = verdict("activations_leave_subspace", Run(departure=departure))
    assert found["status"] == status
    assert "5 components" in found["reading"]
    assert {m["unit"] for m in found["measures"]} == {"points", "spreads"}


EDITOR = Run(editor="r_rome", perplexity_growth=0.02, fading=0.02)


def arm(kind: str, **effects) -> Run:
    return Run(editor=f"{kind}-r_rome", **{"perplexity_growth": 0.02, "fading": 0.02, **effects})


@pytest.mark.parametrize(
    ("restored", "scaled", "statuses"),
    [
        (0.0, 0.02, ("supported", "supported", "supported")),
        (0.02, 0.0, ("contradicted", "contradicted", "contradicted")),
        (0.0, 0.0, ("supported", "contradicted", "undecided")),
        (0.02, 0.02, ("contradicted", "supported", "undecided")),
    ],
)
def test_control_arms_tell_causes_apart(restored, scaled, statuses):
    """Damage with the norm held, and from the norm alone: which of them is there decides."""
    runs = EDITOR, arm("norm_restored", perplexity_growth=restored), arm("scale_only", perplexity_growth=scaled)
    judged = {c["id"]: c for c in judge(planted.tables(*runs))["claims"]}
    found = [judged[claim]["status"] for claim in ("restoring_norm_protects", "norm_alone_harms", "imbalance_harms")]
    assert tuple(found) == statuses


def test_an_editor_that_does_no_damage_leaves_nothing_to_protect():
    runs = Run(editor="r_rome", perplexity_growth=0.0), arm("norm_restored", perplexity_growth=0.0)
    judged = {c["id"]: c for c in judge(planted.tables(*runs))["claims"]}
    assert judged["restoring_norm_protects"]["status"] == "undecided"
    assert judged["imbalance_harms"]["status"] == "undecided"
    assert "missing" in judged["imbalance_harms"]["verdicts"][0]["reading"]


def test_a_model_spared_by_undoing_its_edits_proves_nothing():
    runs = EDITOR, arm("norm_restored", perplexity_growth=0.0, loss=0.015), arm("scale_only")
    judged = {c["id"]: c for c in judge(planted.tables(*runs))["claims"]}
    (found,) = judged["restoring_norm_protects"]["verdicts"]
    assert found["status"] == "undecided" and "takes the edits back" in found["reading"]
    assert judged["imbalance_harms"]["status"] == "undecided"


def test_a_collapse_that_the_restored_norm_prevents_supports():
    judged = {c["id"]: c for c in judge(planted.tables(Run(collapse=40), arm("norm_restored")))["claims"]}
    assert judged["restoring_norm_protects"]["status"] == "supported"


@pytest.mark.parametrize(("sign", "status"), [(1, "supported"), (-1, "contradicted")])
def test_growth_and_damage_of_many_editors(sign, status):
    names = ["ft", "lora", "mend", "rome", "r_rome", "memit", "emmet", "encore"]
    runs = [
        Run(editor=name, growth=0.005 * (i + 1), perplexity_growth=0.02 + sign * 0.002 * i)
        for i, name in enumerate(names)
    ]
    found = next(c for c in judge(planted.tables(*runs))["claims"] if c["id"] == "norm_growth_tracks_damage")
    assert found["status"] == status
    assert found["verdicts"][0]["effect"] == pytest.approx(sign)


def test_editors_are_compared_pair_by_pair_on_the_same_facts():
    runs = Run(editor="ft", loss=0.0), Run(editor="memit", loss=0.015), Run(editor="emmet", loss=0.015)
    compared = {(c["first"], c["second"]): c for c in judge(planted.tables(*runs, arm("scale_only")))["comparisons"]}
    assert set(compared) == {("ft", "memit"), ("ft", "emmet"), ("memit", "emmet")}
    assert compared["ft", "memit"]["low"] > 0 and compared["ft", "memit"]["p_adjusted"] < 0.01
    assert compared["memit", "emmet"]["low"] < 0 < compared["memit", "emmet"]["high"]
    assert all(c["p_adjusted"] >= c["p"] for c in compared.values())


def test_published_numbers_are_compared_under_their_conditions_only():
    run = Run(model="mine", editor="memit", edits=100, checkpoints=(100,), loss=0.0, cases=100)
    tables = planted.tables(run)
    tables["scores"].loc[tables["scores"]["step"] == 100, "step"] = 10_000
    meets = Conditions("counterfact", {"mine": "gpt2-xl"}, {"mine/memit": {"batch": 100, "remembers": True}})
    rows = against_published(tables, meets)
    ours = {row.quantity: row for row in rows if row.ours is not None}
    assert set(ours) == {"ES", "PS", "NS", "S"}
    assert ours["ES"].difference == pytest.approx(ours["ES"].ours - 94.04)
    assert ours["NS"].status == "differs" and ours["NS"].tolerance == 2.0
    assert {row.status for row in rows if row.ours is None} == {"not run"}
    forgets, alone = {"batch": 100, "remembers": False}, {"batch": 1, "remembers": True}
    changed = ({"facts": None}, {"models": {}}, {"runs": {"mine/memit": forgets}}, {"runs": {"mine/memit": alone}})
    for other in (meets._replace(**change) for change in changed):
        assert all(row.ours is None and row.note.startswith("needs") for row in against_published(tables, other))
