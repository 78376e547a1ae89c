"""Remedies and control arms of a study: what they take from the editor inside, and what they share with it."""

from normgrowth.study.inputs_of_runs import Files
from normgrowth.study.parameters import flat_editor, in_slots
from normgrowth.study.plan import Plan
from normgrowth.study.study_files import load_study
from tests.study.test_study import STUDY, laid_over


def test_a_control_arm_takes_what_it_controls():
    """Layers, batch and settings are those of the controlled editor, for the model at hand."""
    study = load_study(
        laid_over(STUDY, {"editors": ["memit", "norm_restored-memit", "scale_only-memit"], "segment": 50})
    )
    plan = Plan(study)
    controlled = plan.editor("world-gpt2", "memit")
    for name in ("norm_restored-memit", "scale_only-memit"):
        arm = plan.editor("world-gpt2", name)
        assert arm.settings.settings == controlled.settings.model_dump(mode="json")
        assert (arm.settings.layers, arm.settings.batch) == (controlled.settings.layers, controlled.settings.batch)
        assert arm.modules[-1] == "normgrowth.editors.memit"
    assert plan.editor("world-gpt2", "norm_restored-memit").needs == controlled.needs
    assert plan.editor("world-gpt2", "scale_only-memit").needs == {"trajectory"}
    assert plan.single_edit_runs == [f"{m}/{e}" for m in study.models for e in ("memit", "norm_restored-memit")]


def test_a_remedy_takes_what_it_wraps_and_settings_of_its_own():
    """Around an editor that need not run itself; a control arm may stand around the remedy."""
    names = ["revive-memit", "sphere-alphaedit", "blue-memit", "simie-r_rome", "revive-strong"]
    arms = ["norm_restored-revive-memit", "scale_only-revive-memit"]
    chosen = {"revive-memit": {"tau": 0.2}, "revive-strong": {"editor": "memit", "tau": 0.9}, "memit": {"clamp": 2.0}}
    study = load_study(laid_over(STUDY, {"editors": names + arms, "segment": 50, "editor_settings": chosen}))
    plan = Plan(study)
    revive, sphere, blue, simie, strong, restored, scaled = (plan.editor("world-gpt2", name) for name in names + arms)
    assert revive.settings.working.clamp == strong.settings.working.clamp == 2.0
    assert (revive.settings.tau, revive.settings.layers, revive.settings.batch) == (0.2, (0, 1), 10)
    assert (strong.settings.tau, strong.wraps) == (0.9, "memit")
    assert sphere.settings.alpha == 0.5 and sphere.needs == {"null_spaces"}
    assert blue.settings.layers == (0, 1) and simie.settings.layers == (1,) and simie.settings.batch == 1
    assert restored.all_wrapped == ("revive-memit", "memit")
    assert restored.settings.wrapped == revive.settings and restored.settings.working == revive.settings.working
    assert restored.modules == tuple(f"normgrowth.editors.{name}" for name in ("norm_restored", "revive", "memit"))
    assert scaled.needs == {"trajectory"} and restored.needs == revive.needs == {"second_moments"}
    assert plan.wrapped == {"memit", "alphaedit", "r_rome", "revive-memit"}
    assert plan.runs[: len(names)] == [f"world-gpt2/{name}" for name in names]


def test_blue_shares_what_is_gathered_with_the_editor_that_it_wraps():
    changes = {"editors": ["memit", "blue-memit"], "editor_settings": {"memit": {"layers": [0, 1, 2]}}, "segment": 50}
    files = Files(Plan(load_study(laid_over(STUDY, changes))))
    assert files.plan.editor("world-gpt2", "blue-memit").settings.layers == (0, 2)
    of_memit, of_blue = (files.gathered("world-gpt2", name) for name in ("memit", "blue-memit"))
    assert of_memit == of_blue and "0-1-2" in of_blue["statistics"]


def test_a_wrapper_uses_the_network_of_the_innermost_editor():
    editors = ["revive-malmen-weak", "norm_restored-revive-malmen-weak"]
    reserved = {"fact_sources": {"world": {"reserved": 100}}}
    files = Files(Plan(load_study(laid_over(STUDY, {"editors": editors, **reserved}))))
    networks = {files.gathered("world-gpt2", name)["hypernetwork"] for name in editors}
    assert len(networks) == 1 and "/malmen-weak/" in networks.pop()


def test_every_setting_of_a_wrapped_editor_is_a_parameter_of_its_segments():
    """Settings of wrapper and wrapped editor, in texts of their own and in no more than there are slots."""
    editors = ["norm_restored-revive-pmet", "sphere-nas", "scale_only-simie-ft", "simie-ft"]
    plan = Plan(load_study(laid_over(STUDY, {"editors": editors, "segment": 50})))
    slots = len(in_slots(lambda wildcards: {}))
    for name in editors:
        found = flat_editor(plan.editor("world-gpt2", name))
        assert len(set(found.values())) == len(found) <= slots
    texts = set(flat_editor(plan.editor("world-gpt2", "norm_restored-revive-pmet")).values())
    assert {"kind: pmet", "clamp: 0.75", "revive.tau: 0.5", "revive.around: pmet"} < texts
    assert "norm_restored.around: revive-pmet" in texts
