"""Planted effects get the verdicts they deserve."""

import json

import numpy as np
import pytest

from normgrowth.claims.claim import EditingClaim
from normgrowth.claims.judge import judge, judge_claims
from normgrowth.claims.markdown import as_markdown
from normgrowth.claims.paper_claims import CLAIMS
from normgrowth.claims.published import Conditions, against_published
from normgrowth.commands import claims as command
from normgrowth.editors.families import (
    CONTROL,
    FAMILIES,
    REMEDY,
    controlled_editor,
    family_of,
    in_order,
    is_control,
    is_remedy,
    with_wrapped,
    wrapped_editor,
)
from normgrowth.errors import ArtefactError
from normgrowth.jobs.command_line import parse
from tests.support import planted
from tests.support.planted import Run


def verdicts(claim: str, *runs: Run, **options) -> list[dict]:
    """The verdicts on `claim` for planted runs, one for each run and place."""
    return judged_alone(claim, planted.tables(*runs, **options))["verdicts"]


def judged_alone(claim: str, tables: dict) -> dict:
    """One claim judged on tables."""
    (found,) = judge_claims(tables, [c for c in CLAIMS if c.id == claim])
    return found


def verdict(claim: str, run: Run, where: str = "", **options) -> dict:
    """The one verdict on `claim` for a planted run, at one place where there are several."""
    (found,) = [v for v in verdicts(claim, run, **options) if v["where"] == where]
    return found


GROWS, RISES = "locate_edits_grow", "norms_rise_edit_by_edit"
LAST = "residual stream, last layer"


def test_what_a_run_ends_with_is_exact():
    found = verdict(GROWS, Run(growth=0.01, noise=0.0))
    assert (found["status"], found["orders"]) == ("supported", 1)
    assert found["low"] == found["effect"] == found["high"] == pytest.approx(np.exp(0.6), rel=1e-5)
    assert "in this run" in found["reading"]


def test_edit_orders_give_an_interval():
    found = verdict(GROWS, Run(growth=0.01, noise=0.004, orders=4))
    assert found["low"] < np.exp(0.6) < found["high"]
    assert found["n"] == 4 and "over 4 edit orders" in found["reading"]


@pytest.mark.parametrize(
    ("growth", "status"), [(0.01, "supported"), (1e-4, "negligible"), (0.0, "negligible"), (-0.01, "opposite")]
)
def test_growth_no_growth_and_shrinking(growth, status):
    assert verdict(GROWS, Run(growth=growth, noise=0.0))["status"] == status


def test_a_decaying_growth_is_no_doubt():
    """Increments that become smaller are no noise: the run ends where it ends."""
    tables = planted.tables(Run(edits=5, checkpoints=(5,)))
    norms = tables["norms"]
    edited = norms["role"] == "edited"
    norms.loc[edited, "frobenius_ratio"] = 1 + np.sqrt(norms.loc[edited, "step"].astype(float))
    (found,) = judged_alone(GROWS, tables)["verdicts"]
    assert found["status"] == "supported" and found["effect"] == pytest.approx(1 + 5**0.5, rel=1e-5)


@pytest.mark.parametrize(
    ("growth", "noise", "edits", "status"),
    [
        (0.01, 0.001, 60, "supported"),
        (-0.01, 0.001, 60, "opposite"),
        (0.0, 0.01, 60, "undecided"),
        (0.0, 0.01, 2000, "negligible"),
        (0.01, 0.0, 5, "too short"),
        (0.0, 0.0, 60, "too short"),
    ],
)
def test_norms_rise_edit_by_edit(growth, noise, edits, status):
    found = verdict(RISES, Run(growth=growth, noise=noise, edits=edits, checkpoints=(edits,), n_layers=2, cases=1))
    assert found["status"] == status


def test_one_jump_is_growth_but_not_edit_by_edit():
    tables = planted.tables(Run(growth=0.0, noise=0.0, edits=100, checkpoints=(100,)))
    norms = tables["norms"]
    late = (norms["role"] == "edited") & (norms["step"] >= 30)
    norms.loc[late, ["frobenius", "frobenius_ratio"]] *= 3
    found = {c["id"]: c["verdicts"][0]["status"] for c in judge(tables)["claims"] if c["id"] in (GROWS, RISES)}
    assert found == {GROWS: "supported", RISES: "too short"}


def test_one_shrinking_matrix_is_the_opposite_of_invariable_growth():
    tables = planted.tables(Run(editor="memit", layers=(1, 2, 3), growth=0.02, noise=0.002))
    norms = tables["norms"]
    shrinking = (norms["layer"] == 3) & (norms["role"] == "edited")
    norms.loc[shrinking, "frobenius_ratio"] = np.exp(-0.005 * norms.loc[shrinking, "step"])
    (found,) = judged_alone(GROWS, tables)["verdicts"]
    assert found["status"] == "opposite"
    assert "h.3.mlp" in found["reading"]
    assert len(found["measures"]) == 4


@pytest.mark.parametrize(
    ("claim", "where"),
    [
        (GROWS, ""),
        (RISES, ""),
        ("growth_is_localized", ""),
        ("edited_layers_outgrow", ""),
        ("activation_norm_falls", LAST),
        ("orientation_drifts", LAST),
        ("activations_leave_subspace", f"{LAST}, about its own mean"),
        ("general_ability_declines", ""),
    ],
)
def test_collapse_is_said(claim, where):
    found = verdict(claim, Run(collapse=40), where)
    assert found["status"] == "collapsed" and (found["edits"], found["orders"]) == (60, 1)
    assert "40" in found["reading"] or "60" in found["reading"]


@pytest.mark.parametrize("claim", [GROWS, RISES, "growth_is_localized", "edited_layers_outgrow"])
def test_collapse_at_the_first_edit_is_said(claim):
    found = verdict(claim, Run(collapse=1))
    assert found["status"] == "collapsed" and "nan" not in found["reading"]


def test_growth_is_localized_only_while_controls_are_exactly_still():
    assert verdict("growth_is_localized", Run())["status"] == "supported"
    moved = verdict("growth_is_localized", Run(control_drift=1e-6))
    assert moved["status"] == "opposite" and "no edit touches" in moved["reading"]
    assert verdict("growth_is_localized", Run(growth=0.0, noise=0.0))["status"] == "negligible"


def test_growth_of_a_run_too_short_for_other_rules_is_localized():
    assert verdict("growth_is_localized", Run(edits=3, checkpoints=(3,)))["status"] == "supported"


@pytest.mark.parametrize(("growth", "status"), [(0.01, "supported"), (0.001, "negligible"), (-0.01, "opposite")])
def test_edited_layers_outgrow_the_others(growth, status):
    """Edited layers start at 10, the others between 9 and 14."""
    found = verdict("edited_layers_outgrow", Run(growth=growth, noise=0.0))
    assert found["status"] == status and found["effect"] == pytest.approx(10 / 14 * np.exp(60 * growth), rel=1e-5)


@pytest.mark.parametrize(
    ("scale", "growth", "status"), [(0.2, 0.005, "opposite"), (3.0, 0.0, "undecided"), (3.0, 0.01, "supported")]
)
def test_growth_of_a_small_layer_does_not_make_it_large(scale, growth, status):
    """And a layer that was the largest before any edit did not become so."""
    tables = planted.tables(Run(growth=growth, noise=0.0))
    tables["norms"].loc[tables["norms"]["role"] == "edited", "frobenius"] *= scale
    (found,) = judged_alone("edited_layers_outgrow", tables)["verdicts"]
    assert found["status"] == status


def test_edited_layers_over_several_orders_have_an_interval():
    found = verdict("edited_layers_outgrow", Run(growth=0.01, noise=0.004, orders=4))
    assert found["status"] == "supported" and found["low"] < found["effect"] < found["high"] and found["n"] == 4


def test_one_other_layer_shows_no_spread():
    found = verdict("edited_layers_outgrow", Run(n_layers=2, noise=0.0))
    assert found["status"] == "too short" and "no spread" in found["reading"]


@pytest.mark.parametrize(
    ("change", "spread", "status"),
    [(-0.004, 0.05, "supported"), (0.004, 0.05, "opposite"), (-0.00017, 0.05, "undecided"), (0.0, 0.01, "negligible")],
)
def test_activation_norm(change, spread, status):
    found = verdict("activation_norm_falls", Run(norm_change=change, spread=spread), LAST)
    assert found["status"] == status


def test_a_mean_of_ratios_that_rises_while_norms_fall_decides_nothing():
    found = verdict("activation_norm_falls", Run(norm_change=-0.004, small_growth=0.01), LAST)
    assert found["status"] == "supported" and found["effect"] < 1 < found["measures"][1]["effect"]


@pytest.mark.parametrize(("turn", "status"), [(0.01, "supported"), (0.0, "negligible"), (0.00236, "undecided")])
def test_orientation(turn, status):
    assert verdict("orientation_drifts", Run(turn=turn), LAST)["status"] == status


def test_activations_are_judged_at_every_place_that_edits_reach():
    found = {v["where"] for v in verdicts("activation_norm_falls", Run(layers=(2,)))}
    sites, depths = {w.split(",")[0] for w in found}, {w.split(", ")[1] for w in found}
    assert sites == {"residual stream", "MLP output", "attention output", "MLP key"}
    assert depths == {"last edited layer", "halfway to the last layer", "last layer"}
    # The keys and the attention of the edited layer are computed before the edited matrix.
    assert "MLP key, last edited layer" not in found and "attention output, last edited layer" not in found
    assert "MLP key, last edited layer" in {v["where"] for v in verdicts("activation_norm_falls", Run(layers=(1, 2)))}


@pytest.mark.parametrize(("edited", "depths"), [(4, {"last layer", "last edited layer"}), (5, {"last layer"})])
def test_a_layer_at_two_depths_goes_by_the_edited_or_the_last(edited, depths):
    found = {v["where"] for v in verdicts("orientation_drifts", Run(layers=(edited,)))}
    assert {w.removeprefix("residual stream, ") for w in found if w.startswith("residual")} == depths


def test_calls_and_editors_speak_of_no_other_orders():
    tables = planted.tables(*(Run(editor=e, orders=2, growth=g) for e, g in (("ft", 0.01), ("rome", 0.02))))
    for claim in (RISES, "norm_growth_tracks_damage"):
        judged = judged_alone(claim, tables)
        assert judged["counts"] and judged["over_orders"] == {}
    assert "in these 2 runs together" in judged_alone(RISES, tables)["verdicts"][0]["reading"]


@pytest.mark.parametrize(("rate", "status"), [(7e-5, "supported"), (-7e-5, "opposite"), (0.0, "negligible")])
def test_whole_models_are_judged_by_their_direction(rate, status):
    """A growth of a thousandth is small, and sure."""
    table, names = planted.interventions("tiny-gpt2"), list(planted.tables())
    table["frobenius_ratio"] = np.exp((rate + 1e-6 * (table["order"] - 1)) * table["step"])
    tables = {**{name: planted.tables()[name] for name in names}, "interventions": table}
    (found,) = judged_alone("full_fine_tuning_grows", tables)["verdicts"]
    assert found["status"] == status and abs(found["effect"] - 1) < 0.01


def test_one_checkpoint_is_enough_and_is_said():
    found = verdict("activation_norm_falls", Run(checkpoints=(60,)), LAST)
    assert found["status"] == "supported" and "only checkpoint" in found["reading"]


def test_no_checkpoint_is_not_measured():
    for claim in ("activation_norm_falls", "editing_performance_declines", "general_ability_declines"):
        assert verdict(claim, Run(checkpoints=()))["status"] == "not measured"


def test_absent_editors_and_unmeasured_claims_say_what_it_would_take():
    judged = {c["id"]: c for c in judge(planted.tables(Run()))["claims"]}
    assert list(judged) == [claim.id for claim in CLAIMS]
    missing = [c for c in judged.values() if not c["counts"]]
    assert {c["id"] for c in missing} >= {"fine_tuning_edits_grow", "hypernetwork_edits_grow", "imbalance_harms"}
    assert all(c["needs"] and c["range"] is None for c in missing)


def test_no_data_at_all_is_not_measured():
    judged = judge(planted.tables())["claims"]
    assert all("needs" in c and not c["verdicts"] for c in judged)


def test_claims_count_verdicts_and_tell_the_range_of_effects():
    runs = [Run(editor="ft", noise=0.0), Run(editor="ft-fast", growth=0.0, noise=0.0), Run(editor="mine")]
    judged = judge(planted.tables(*runs))
    claim = next(c for c in judged["claims"] if c["id"] == "fine_tuning_edits_grow")
    assert claim["counts"] == {"supported": 1, "negligible": 1}
    assert claim["range"] == {"low": 1.0, "high": pytest.approx(np.exp(0.6), rel=1e-5), "unit": "ratio"}
    assert "1 supported, 1 negligible" in as_markdown(judged) and "ratio 1 to 1.822" in as_markdown(judged)
    assert judged["editors_without_family"] == ["mine"]


def test_rules_say_the_margins_they_compare_with():
    for claim in CLAIMS:
        assert f"{claim.rule.margin:.3g}" in claim.decided and "undecided otherwise" in claim.decided
        low, high = claim.rule.negligible
        assert low < high


ABOUT_ARMS = ("imbalance_harms", "restoring_norm_protects", "norm_alone_harms")


def test_control_arms_are_never_judged_themselves():
    sure = {"loss": 0.02, "fading": 0.015}
    editors = [Run(editor=name, **sure) for name in ("ft", "memit")]
    editors.append(Run(editor="mend", growth=0.0, noise=0.0, **sure))
    arms = [Run(editor=f"{kind}-memit", growth=-0.01, loss=0.05) for kind in FAMILIES[CONTROL]]
    alone, beside = judge(planted.tables(*editors)), judge(planted.tables(*editors, *arms))
    for before, after in zip(alone["claims"], beside["claims"], strict=True):
        if before["id"] in ABOUT_ARMS:
            assert [v["editor"] for v in after["verdicts"]] == ["memit"] and not before["verdicts"]
            continue
        assert [v["editor"] for v in before["verdicts"]] == [v["editor"] for v in after["verdicts"]]
        assert before["counts"] == after["counts"]
    assert beside["control_arms"] == sorted(run.editor for run in arms)
    assert beside["editors_without_family"] == []
    assert "Control arms are not judged themselves: no_feedback-memit, norm_restored-memit" in as_markdown(beside)
    only = judge(planted.tables(*arms))
    assert all(set(claim["counts"]) <= {"not measured"} for claim in only["claims"])


def test_remedies_are_judged_as_editors_and_by_no_claim_of_another_family():
    sure = {"loss": 0.02, "fading": 0.015}
    editors = [Run(editor=name, **sure) for name in ("ft", "memit")]
    remedies = [Run(editor=f"{kind}-memit", **sure) for kind in FAMILIES[REMEDY]]
    arm = Run(editor="norm_restored-revive-memit", growth=-0.01, loss=0.05)
    alone, beside = judge(planted.tables(*editors)), judge(planted.tables(*editors, *remedies, arm))
    families = {claim.id: claim.family for claim in CLAIMS if isinstance(claim, EditingClaim) and claim.family}
    assert families
    for before, after in zip(alone["claims"], beside["claims"], strict=True):
        told = {verdict["editor"] for verdict in after["verdicts"]} - {
            verdict["editor"] for verdict in before["verdicts"]
        }
        if before["id"] in families:
            assert not told
        elif before["id"] in ("restoring_norm_protects", "imbalance_harms"):
            assert told == {"revive-memit"}  # the only one with an arm
        else:
            assert told in (set(), {run.editor for run in remedies})
    assert any(
        {v["editor"] for v in claim["verdicts"]} > {run.editor for run in remedies} for claim in beside["claims"]
    )
    compared = {editor for pair in beside["comparisons"] for editor in (pair["first"], pair["second"])}
    assert compared == {"ft", "memit", *(run.editor for run in remedies)}
    assert beside["control_arms"] == [arm.editor] and beside["editors_without_family"] == []


def test_a_remedy_is_known_by_its_kind_and_stands_in_the_order_of_what_it_wraps():
    assert is_remedy("revive-memit") and not is_control("revive-memit") and family_of("blue-pmet") == REMEDY
    assert wrapped_editor("sphere-memit-history") == "memit-history" and controlled_editor("sphere-memit") is None
    assert with_wrapped("norm_restored-revive-memit") == ["norm_restored-revive-memit", "revive-memit", "memit"]
    wanted = ["ft", "rome", "memit", "revive-ft", "revive-memit", "sphere-memit", "revive-pmet"]
    wanted += ["norm_restored-memit", "norm_restored-revive-memit", "mine"]
    assert in_order(reversed(wanted)) == wanted


def test_a_control_arm_is_known_by_its_kind_and_names_what_it_controls():
    assert is_control("scale_only-r_rome") and not is_control("r_rome") and not is_control("mine")
    assert controlled_editor("norm_restored-memit-history") == "memit-history"
    assert controlled_editor("memit-history") is None and controlled_editor("scale_only") is None
    assert in_order(["mine", "scale_only-memit", "memit-weak", "nas", "memit", "ft", "norm_restored-memit"]) == [
        *("ft", "memit", "memit-weak", "nas", "norm_restored-memit", "scale_only-memit", "mine")
    ]


def test_command_writes_the_same_bytes_twice_and_rejects_damage(tmp_path):
    planted.write(tmp_path / "tables", planted.tables(Run(orders=2), Run(editor="ft", collapse=30)))

    def run(name):
        out = [tmp_path / f"{name}.json", tmp_path / f"{name}.md"]
        given = ["--study", planted.STUDY, "--tables", f"{tmp_path}/tables"]
        command.run(parse(command.Claims, [*given, "--out-json", f"{out[0]}", "--out-md", f"{out[1]}"]))
        return [path.read_bytes() for path in out]

    assert run("a") == run("b")
    judged = json.loads((tmp_path / "a.json").read_text())
    assert as_markdown(judged) == (tmp_path / "a.md").read_text()
    assert "NaN" not in (tmp_path / "a.json").read_text()

    table = tmp_path / "tables" / "norms.parquet"
    table.write_bytes(table.read_bytes()[:200])
    with pytest.raises(ArtefactError, match="damaged"):
        run("c")


@pytest.mark.parametrize(
    ("effects", "own", "unedited"),
    [
        ({"departure": 0.02}, "supported", "supported"),
        ({"departure": 0.0}, "negligible", "negligible"),
        ({"departure": 0.0, "shift": 0.05}, "negligible", "supported"),  # a mere shift of the mean
        ({"departure": 0.005}, "partial", "partial"),  # a third of the way: surely moved, surely not there
        ({"departure": 0.0083}, "undecided", "undecided"),
    ],
)
def test_leaving_the_subspace(effects, own, unedited):
    run = Run(**effects)
    for where, status in (("about its own mean", own), ("about the unedited mean", unedited)):
        found = verdict("activations_leave_subspace", run, f"{LAST}, {where}")
        assert found["status"] == status
        assert "5 components" in found["reading"] and "10.0% of all variance is chance" in found["reading"]
        assert {m["unit"] for m in found["measures"]} == {"share", "degrees", "spreads"}


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
