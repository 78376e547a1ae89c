"""Segments: where they begin, and whether a run was killed on the way, changes no byte of what results."""

import json
import math
import signal

import pandas as pd
import pytest
import torch

from normgrowth import cli
from normgrowth.commands import edit as edit_command
from normgrowth.editors.controls import NoFeedback
from normgrowth.editors.registry import EDITORS, declaration
from normgrowth.editors.settings import HYPERNETWORK, NULL_SPACES, SECOND_MOMENTS, TRAJECTORY
from normgrowth.errors import ArtefactError, EditError, FactError
from normgrowth.facts.orders import edit_order
from normgrowth.io.columns import CHECKPOINT_TABLES, TABLES
from normgrowth.io.documents import write_json
from normgrowth.io.provenance import file_sha256
from normgrowth.io.tables import read_provenance, read_table
from normgrowth.io.tensors import read_tensors, write_tensors
from normgrowth.jobs.command_line import parse
from normgrowth.measure.material import Material
from normgrowth.measure.measure_settings import Measure
from normgrowth.runs.checkpoint import Checkpoint, measure_checkpoint
from normgrowth.runs.state import STATE, EditedModel, restore
from normgrowth.sources.loading import load_model
from normgrowth.sources.manifest import revision
from tests.support import small_models
from tests.support.every_editor import CONTROLLED, CONTROLS, WRITERS, hypernetwork_of, settings_of
from tests.support.processes import start

slow = pytest.mark.slow
COMPARED = ("norms.parquet", "edits.parquet", "scores.parquet", "state.safetensors")


@pytest.fixture(scope="module", params=small_models.ARCHITECTURES)
def world(request, tmp_path_factory):
    """A saved model with facts, contexts and second moments, as the workflow would have made them."""
    folder = tmp_path_factory.mktemp("world")
    model = small_models.save(request.param, folder / "model")
    write_json(folder / "facts.json", small_models.records())
    small_models.write_contexts(folder / "contexts.json", model)
    lm = load_model(model)
    moments = small_models.resources(lm).second_moments
    write_tensors(
        folder / "moments.safetensors",
        {f"moment.{layer}": m.moment for layer, m in moments.items()},
        {"model": revision(model), "seed": 0, "text": "none", "layers": list(moments), "count": 1536},
        SECOND_MOMENTS,
    )
    assert null_spaces(folder, folder / "null-spaces.safetensors", "--threshold", str(small_models.THRESHOLD)) == 0
    for kind in WRITERS:
        if tensors := hypernetwork_of(kind, lm):
            trained = {"model": revision(model), "kind": kind, "settings": settings_of(kind).model_dump(mode="json")}
            trained |= {"seed": 0, "facts": file_sha256(folder / "facts.json"), "reserved_facts": 0}
            write_tensors(folder / f"{kind}.safetensors", tensors, trained, HYPERNETWORK)
    edit(folder, folder / "followed", CONTROLLED, 1, 1, 6)
    for segment in (1, 2, 3):
        edit(folder, folder / "followed-in-three", CONTROLLED, segment, 2 * segment - 1, 2 * segment)
    return folder


def settings_text(kind, **changes) -> str:
    """An editor's settings as the workflow passes them, some of them changed: those that do the editing."""
    given = settings_of(kind).model_dump(mode="json")
    (given["settings"] if kind in CONTROLS else given).update(changes)
    return json.dumps(given)


def arguments(world, chain, kind, segment, first, last, **overrides) -> list[str]:
    values = {
        "study": "test", "model-name": "small", "editor-name": kind, "order": 0, "segment": segment, "first": first,
        "last": last, "model": world / "model", "facts": world / "facts.json", "contexts": world / "contexts.json",
        "statistics": world / "moments.safetensors", "editor": kind, "settings": settings_text(kind),
        "seed": 0, "chain": chain, "device": "cpu", "threads": 1,
    }  # fmt: skip
    needs = settings_of(kind).needs
    if NULL_SPACES in needs:
        values["null-spaces"] = world / "null-spaces.safetensors"
    if HYPERNETWORK in needs:
        values["hypernetwork"] = world / f"{kind}.safetensors"
    if TRAJECTORY in needs:
        followed = "followed" if segment == 1 else "followed-in-three"
        values["trajectory"] = world / followed / f"segment-{segment}/norms.parquet"
    return [text for name, value in {**values, **overrides}.items() for text in (f"--{name}", str(value))]


def edit(*args, **overrides) -> None:
    """Run the command in this process."""
    edit_command.run(parse(edit_command.Edit, arguments(*args, **overrides)))


def weights_after(world, chain, segments) -> dict[str, torch.Tensor]:
    lm = load_model(world / "model")
    restore(lm, chain, segments, {})
    return dict(lm.model.named_parameters())


@pytest.mark.parametrize("kind", sorted(EDITORS))
def test_one_segment_and_three_give_the_same_bits(world, tmp_path, kind):
    edit(world, tmp_path / "one", kind, 1, 1, 6)
    for segment in (1, 2, 3):
        edit(world, tmp_path / "three", kind, segment, 2 * segment - 1, 2 * segment)
    for name in ("norms", "edits", "scores"):
        one = read_table(tmp_path / f"one/segment-1/{name}.parquet", name)
        three = pd.concat(read_table(tmp_path / f"three/segment-{k}/{name}.parquet", name) for k in (1, 2, 3))
        pd.testing.assert_frame_equal(one, three.reset_index(drop=True), check_exact=True)
    one, three = (weights_after(world, tmp_path / name, k) for name, k in (("one", 1), ("three", 3)))
    assert all(torch.equal(one[name], three[name]) for name in one)
    unedited = dict(load_model(world / "model").model.named_parameters())
    assert any(not torch.equal(one[name], unedited[name]) for name in one)


# Every editor on one architecture, in turn, and one editor on both.
KILLED = [
    *((architecture, "memit") for architecture in small_models.ARCHITECTURES),
    *(
        pytest.param(small_models.ARCHITECTURES[number % 2], kind, marks=slow)
        for number, kind in enumerate(kind for kind in WRITERS if kind != "memit")
    ),
]


@pytest.mark.parametrize(("world", "kind"), KILLED, indirect=["world"])
def test_a_killed_segment_started_again_gives_the_same_bytes(world, tmp_path, kind):
    # Slow enough that the kill lands among the edits.
    long = (
        {"settings": settings_text(kind, steps=20, stop_loss=0.0)} if "steps" in settings_of(kind).model_dump() else {}
    )
    for run in ("whole", "killed"):
        edit(world, tmp_path / run, kind, 1, 1, 2, **long)
    edit(world, tmp_path / "whole", kind, 2, 3, 6, **long)
    running = start(["edit", *arguments(world, tmp_path / "killed", kind, 2, 3, 6, **long)])
    assert b"segment 2: 0/4" in running.stderr.readline()
    running.kill()
    assert running.process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "killed/segment-2").exists()
    edit(world, tmp_path / "killed", kind, 2, 3, 6, **long)
    for name in COMPARED:
        whole, killed = (tmp_path / run / "segment-2" / name for run in ("whole", "killed"))
        assert whole.read_bytes() == killed.read_bytes(), name


def test_norms_hold_step_zero_and_controls_that_stay(world, tmp_path):
    edit(world, tmp_path, "r_rome", 1, 1, 3)
    norms = read_table(tmp_path / "segment-1/norms.parquet", "norms")
    assert sorted(norms["step"].unique()) == [0, 1, 2, 3]
    assert len(norms) == 4 * 2 * small_models.N_LAYERS
    control = norms[norms["role"] == "control"]
    assert (control["frobenius_ratio"] == 1).all() and (control["drift_frobenius"] == 0).all()
    lm = load_model(world / "model")
    original = lm.anatomy.down_projections[1].matrix.double().clone()
    restore(lm, tmp_path, 1, {})
    now = lm.anatomy.down_projections[1].matrix.double()
    last = norms[(norms["step"] == 3) & (norms["role"] == "edited")].iloc[0]
    drift = now - original
    assert last["frobenius"] == pytest.approx(now.norm().item(), rel=1e-9)
    assert last["drift_frobenius"] == pytest.approx(drift.norm().item(), rel=1e-5)
    cosine = (drift * original).sum() / (drift.norm() * original.norm())
    assert last["drift_cosine"] == pytest.approx(cosine.item(), abs=1e-5)
    assert read_provenance(tmp_path / "segment-1/norms.parquet")["settings"]["steps"] == 8


def test_a_model_is_brought_to_steps_within_a_segment(world, tmp_path):
    edit(world, tmp_path / "whole", "memit", 1, 1, 6)
    for segment in (1, 2, 3):
        edit(world, tmp_path / "three", "memit", segment, 2 * segment - 1, 2 * segment)
    for chain, segments in (("whole", 1), ("three", 3)):
        lm = load_model(world / "model")
        unedited = [p.clone() for p in lm.model.parameters()]
        edited = EditedModel(lm, tmp_path / chain, segments, {})
        assert edited.steps == ({2, 4, 6} if chain == "whole" else {6})
        end = [p.clone() for p in lm.model.parameters()]
        for step in edited.steps:
            wanted = weights_after(world, tmp_path / "three", step // 2).values()
            with edited.at(step):
                assert all(map(torch.equal, lm.model.parameters(), wanted))
                with edited.undone():
                    assert all(map(torch.equal, lm.model.parameters(), unedited))
                assert all(map(torch.equal, lm.model.parameters(), wanted))
        assert all(map(torch.equal, lm.model.parameters(), end))


def test_matrices_alone_lead_to_no_step_within_a_segment(world, tmp_path):
    edit(world, tmp_path / "dense", "ft", 1, 1, 6)
    assert EditedModel(load_model(world / "model"), tmp_path / "dense", 1, {}).steps == set()


def test_a_checkpoint_also_measures_the_curve_before_it(world, tmp_path):
    edit(world, tmp_path / "run", "memit", 1, 1, 6)
    facts = small_models.facts()
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(small_models.SENTENCES), encoding="utf-8")
    small = {"text_window": 8, "perplexity_tokens": 64, "text_probes": 8, "untouched_facts": 1, "generation_facts": 0}

    def measured(segments, curve):
        chain = tmp_path / ("run" if segments == 1 else "two")
        material = Material(facts, facts, text, text, 0, Measure(curve=curve, **small))
        return measure_checkpoint(load_model(world / "model"), material, Checkpoint(6, chain, segments, {}))

    found = measured(1, (1, 2, 3, 4))
    assert {name: set(table["step"]) for name, table in found.items()} == {
        name: {2, 4, 6} if TABLES[name].along else {6} for name in CHECKPOINT_TABLES
    }
    edit(world, tmp_path / "two", "memit", 1, 1, 4)
    chain, material = tmp_path / "two", Material(facts, facts, text, text, 0, Measure(**small))
    alone = measure_checkpoint(load_model(world / "model"), material, Checkpoint(4, chain, 1, {}))["downstream"]
    along = found["downstream"][found["downstream"]["step"] == 4].reset_index(drop=True)
    assert along["value"].astype(float).tolist() == alone["value"].astype(float).tolist()


def test_a_state_of_another_run_is_refused(world, tmp_path):
    edit(world, tmp_path, "r_rome", 1, 1, 2)
    other = settings_text("r_rome", clamp=1.0)
    with pytest.raises(ArtefactError, match=r"segment-1/state.safetensors holds settings .* delete the folder"):
        edit(world, tmp_path, "r_rome", 2, 3, 4, settings=other)


def test_a_state_that_grew_from_another_is_refused(world, tmp_path):
    for segment in (1, 2):
        edit(world, tmp_path, "ft", segment, segment, segment)
    tensors, metadata = read_tensors(tmp_path / "segment-1/state.safetensors")
    write_tensors(tmp_path / "segment-1/state.safetensors", tensors, {**metadata, "extra": 1}, STATE)
    with pytest.raises(ArtefactError, match=r"segment-2/state.safetensors grew from a state with hash"):
        edit(world, tmp_path, "ft", 3, 3, 3)


def test_a_missing_or_damaged_state_is_named(world, tmp_path):
    edit(world, tmp_path, "ft", 1, 1, 1)
    state = tmp_path / "segment-1/state.safetensors"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(ArtefactError, match=r"segment-1/state.safetensors is damaged .* run the workflow again"):
        edit(world, tmp_path, "ft", 2, 2, 2)
    state.unlink(missing_ok=True)
    with pytest.raises(ArtefactError, match=r"segment-1/state.safetensors does not exist"):
        edit(world, tmp_path, "ft", 2, 2, 2)


def test_an_edit_that_breaks_the_model_is_named_and_earlier_segments_stay(world, tmp_path):
    edit(world, tmp_path, "ft", 1, 1, 2)
    kept = (tmp_path / "segment-1/state.safetensors").read_bytes()
    huge = settings_text("ft", learning_rate=1e37)
    with pytest.raises((EditError, ArtefactError)):
        edit(world, tmp_path, "ft", 2, 3, 4, settings=huge)
    with pytest.raises(EditError, match=r"case \d+"):
        edit(world, tmp_path / "fresh", "ft", 1, 1, 2, settings=huge)
    assert not (tmp_path / "fresh/segment-1").exists()
    assert (tmp_path / "segment-1/state.safetensors").read_bytes() == kept


def test_more_edits_than_facts_are_refused(world, tmp_path):
    with pytest.raises(FactError, match="holds 6 facts, fewer than the 9 edits"):
        edit(world, tmp_path, "ft", 1, 1, 9)


def test_statistics_of_another_model_are_refused(world, tmp_path):
    tensors, metadata = read_tensors(world / "moments.safetensors")
    write_tensors(tmp_path / "other.safetensors", tensors, {**metadata, "model": "f00"}, SECOND_MOMENTS)
    with pytest.raises(ArtefactError, match=r"holds model 'f00', where model"):
        edit(world, tmp_path, "r_rome", 1, 1, 2, statistics=tmp_path / "other.safetensors")


def test_statistics_of_another_width_are_refused(world, tmp_path):
    tensors, metadata = read_tensors(world / "moments.safetensors")
    smaller = {name: moment[:60, :60].contiguous() for name, moment in tensors.items()}
    write_tensors(tmp_path / "other.safetensors", smaller, metadata, SECOND_MOMENTS)
    with pytest.raises(ArtefactError, match=r"is for keys of width 60 at layer \d, where the model has (128|88)"):
        edit(world, tmp_path, "memit", 1, 1, 2, statistics=tmp_path / "other.safetensors")


def test_a_null_space_of_another_threshold_is_refused(world, tmp_path):
    with pytest.raises(ArtefactError, match=r"was made with null_space_threshold 0.05, not 0.07; delete it"):
        edit(world, tmp_path, "alphaedit", 1, 1, 2, settings=settings_text("alphaedit", null_space_threshold=0.07))


def null_spaces(world, out, *more) -> int:
    of = ["--model", str(world / "model"), "--layers", *map(str, range(small_models.N_LAYERS))]
    return cli.main(["null-spaces", *of, "--statistics", str(world / "moments.safetensors"), "--out", str(out), *more])


def test_the_default_null_space_is_made_and_read_and_an_older_default_is_refused(world, tmp_path):
    assert null_spaces(world, tmp_path / "default.safetensors") == 0
    chosen = {"settings": settings_text("alphaedit", null_space_threshold=None)}
    edit(world, tmp_path, "alphaedit", 1, 1, 2, **chosen, **{"null-spaces": tmp_path / "default.safetensors"})
    tensors, metadata = read_tensors(tmp_path / "default.safetensors")
    metadata["relative_threshold"] = 0.1
    write_tensors(tmp_path / "older.safetensors", tensors, metadata, NULL_SPACES)
    with pytest.raises(ArtefactError, match="made by another version of the package, with another default; delete it"):
        edit(world, tmp_path, "alphaedit", 1, 1, 2, **chosen, **{"null-spaces": tmp_path / "older.safetensors"})


def test_a_threshold_with_nothing_below_it_ends_the_job_that_comes_before_any_edit(world, tmp_path, capsys):
    assert null_spaces(world, tmp_path / "none.safetensors", "--threshold", "1e-12") == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert (
        "null_space_threshold is 1e-12, and the second moment of layer 0 has no eigenvalue below it (the least" in error
    )
    assert "raise null_space_threshold in the editor's settings, or leave it out" in error
    assert not (tmp_path / "none.safetensors").exists()


@pytest.mark.parametrize("kind", ["ft", "ft_l"])
def test_what_fine_tuning_did_to_biases_is_kept_and_can_be_undone(world, tmp_path, kind):
    edit(world, tmp_path, kind, 1, 1, 2)
    lm = load_model(world / "model")
    unedited = {name: parameter.clone() for name, parameter in lm.model.named_parameters()}
    module = lm.anatomy.down_projections[1].name.removesuffix(".weight")
    edited = EditedModel(lm, tmp_path, 1, {})
    now = {name: parameter.clone() for name, parameter in lm.model.named_parameters()}
    assert {name for name in now if not torch.equal(now[name], unedited[name])} == {n for n in now if module in n}
    with edited.undone():
        assert all(torch.equal(p, unedited[name]) for name, p in lm.model.named_parameters())
    assert all(torch.equal(p, now[name]) for name, p in lm.model.named_parameters())


def test_a_dense_state_without_the_bias_of_its_layer_is_refused(world, tmp_path):
    edit(world, tmp_path, "ft", 1, 1, 2)
    path = tmp_path / "segment-1/state.safetensors"
    tensors, metadata = read_tensors(path)
    if "bias.1" not in tensors:
        pytest.skip("this architecture's down-projections have no bias")
    write_tensors(path, {name: tensor for name, tensor in tensors.items() if name != "bias.1"}, metadata, STATE)
    with pytest.raises(ArtefactError, match=r"state.safetensors holds no bias of layer 1: another version .* delete"):
        weights_after(world, tmp_path, 1)


def test_a_trajectory_that_does_not_reach_is_refused(world, tmp_path):
    for segment, first in ((1, 1), (2, 5)):
        edit(world, tmp_path / "followed", "memit", segment, first, first + 3 - 2 * (segment - 1))
    recorded = tmp_path / "followed/segment-1/norms.parquet"
    with pytest.raises(ArtefactError, match=r"the run of 'memit' that is followed has no record of step 6"):
        edit(world, tmp_path / "arm", "scale_only", 1, 1, 6, trajectory=recorded)
    edit(world, tmp_path / "arm", "scale_only", 1, 1, 4, trajectory=recorded)
    with pytest.raises(ArtefactError, match=r"norms.parquet holds segment 1, where segment 2 belongs; delete it and"):
        edit(world, tmp_path / "arm", "scale_only", 2, 5, 6, trajectory=recorded)
    with pytest.raises(ArtefactError, match=r"norms.parquet holds order 0, where order 1 belongs; delete it and run"):
        edit(world, tmp_path / "arm", "scale_only", 1, 1, 4, trajectory=recorded, order=1)


def test_scale_only_follows_the_norms_and_keeps_the_direction(world, tmp_path):
    edit(world, tmp_path, "scale_only", 1, 1, 6)
    followed, arm = (
        read_table(path, "norms").query("role == 'edited'").set_index(["step", "layer"])
        for path in (world / "followed/segment-1/norms.parquet", tmp_path / "segment-1/norms.parquet")
    )
    common = arm.index.intersection(followed.index)
    assert len(common) == 8  # step 0 and three batches, two layers
    assert arm.loc[common, "frobenius"].to_numpy() == pytest.approx(
        followed.loc[common, "frobenius"].to_numpy(), rel=1e-5
    )
    lm = load_model(world / "model")
    original = lm.anatomy.down_projections[1].matrix.clone()
    restore(lm, tmp_path, 1, {})
    cosine = torch.nn.functional.cosine_similarity(
        lm.anatomy.down_projections[1].matrix.flatten(), original.flatten(), 0
    )
    assert cosine.item() == pytest.approx(1, abs=1e-5)


def test_random_steps_have_the_sizes_of_the_run_that_they_follow(world, tmp_path):
    edit(world, tmp_path, "random_direction", 1, 1, 6)
    followed, arm = (
        read_table(path, "norms").query("role == 'edited' and step > 0").set_index(["step", "layer"])
        for path in (world / "followed/segment-1/norms.parquet", tmp_path / "segment-1/norms.parquet")
    )
    assert arm["delta_frobenius"].to_numpy() == pytest.approx(followed["delta_frobenius"].to_numpy(), rel=1e-3)


def test_restored_norms_stay_as_they_were(world, tmp_path):
    edit(world, tmp_path, "norm_restored", 1, 1, 6)
    norms = read_table(tmp_path / "segment-1/norms.parquet", "norms").query("role == 'edited' and step > 0")
    assert norms["frobenius_ratio"].to_numpy() == pytest.approx(1, abs=1e-6)
    assert (norms["drift_frobenius"] > 0).all()


@pytest.mark.parametrize("kind", ["memit", "ft"])
def test_edits_without_feedback_are_the_sum_of_edits_of_the_unedited_model(world, tmp_path, kind):
    """The change after two batches is that of each batch alone on the unedited model, added up."""
    facts = edit_order(small_models.facts(), 0, 0)
    resources = small_models.resources(load_model(world / "model"))

    def changed(editor_of, batches):
        lm = load_model(world / "model")
        editor = editor_of(declaration(kind).build(settings_of(kind).model_copy(update={"remember": "nothing"})))
        editor.prepare(lm, resources)
        memory = editor.begin(lm)
        before = [lm.anatomy.down_projections[layer].matrix.clone() for layer in editor.layers]
        for batch in batches:
            editor.edit(lm, memory, batch)
        return [lm.anatomy.down_projections[n].matrix - b for n, b in zip(editor.layers, before, strict=True)]

    both = changed(NoFeedback, [facts[:2], facts[2:4]])
    alone = [changed(lambda editor: editor, [part]) for part in (facts[:2], facts[2:4])]
    for total, *parts in zip(both, *alone, strict=True):
        assert torch.allclose(total, sum(parts), atol=1e-5)
        assert total.norm() > 0


def test_scores_just_after_the_edit_carry_their_step(world, tmp_path):
    edit(world, tmp_path, "memit", 1, 1, 4)
    scores = read_table(tmp_path / "segment-1/scores.parquet", "scores")
    assert list(scores["edited_at"]) == [1, 2, 3, 4]
    assert list(scores["step"]) == [2, 2, 4, 4]
    edits = read_table(tmp_path / "segment-1/edits.parquet", "edits")
    assert list(edits["batch"]) == [1, 1, 2, 2] and list(edits["step"]) == [1, 2, 3, 4]
    assert list(edits["immediate_efficacy"]) == list(scores["es"])
    assert all(math.isfinite(value) for value in edits["offset_norm"])


def test_vetting_edits_single_facts_with_the_given_settings(world, tmp_path, capsys):
    """Bars of zero pass on a random model; a bar that cannot be met is an error that says what was reached."""
    given = {
        "model": world / "model", "facts": world / "facts.json", "contexts": world / "contexts.json",
        "statistics": world / "moments.safetensors", "editor-settings": settings_text("r_rome"), "seed": 0,
        "device": "cpu", "out": tmp_path / "editability.json",
    }  # fmt: skip
    words = [str(word) for name, value in given.items() for word in (f"--{name}", value)]
    assert cli.main(["check-editable", *words, "--settings", '{"facts": 3, "es": 0, "ps": 0, "ns": 0}']) == 0
    reached = json.loads((tmp_path / "editability.json").read_text())
    assert reached["facts"] == 3
    worst = min(("es", "ps", "ns"), key=reached.get)
    assert reached[worst] < 1
    bars = {"es": 0, "ps": 0, "ns": 0, worst: 1}
    assert cli.main(["check-editable", *words, "--settings", json.dumps({"facts": 3, **bars})]) == 1
    assert f"{worst.upper()} {reached[worst]:.2f} (bar 1.00)" in capsys.readouterr().err
