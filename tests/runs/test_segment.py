"""Segments: where they begin, and whether a run was killed on the way, changes no byte of what results."""

import math
import signal

import pandas as pd
import pytest
import torch

from normgrowth.errors import ArtefactError, EditError, FactError
from normgrowth.io.columns import CHECKPOINT_TABLES, TABLES
from normgrowth.io.tables import read_provenance, read_table
from normgrowth.io.tensors import read_tensors, write_tensors
from normgrowth.measure.material import Material
from normgrowth.measure.measure_settings import Measure
from normgrowth.runs.checkpoint import Checkpoint, measure_checkpoint
from normgrowth.runs.state import STATE, EditedModel, restore
from normgrowth.sources.loading import load_model
from tests.support import small_models
from tests.support.every_editor import NAMES, WRAPPED, WRITERS, settings_of
from tests.support.processes import start
from tests.support.segments import arguments, edit, settings_text, weights_after

slow = pytest.mark.slow
COMPARED = ("norms.parquet", "edits.parquet", "scores.parquet", "state.safetensors")


@pytest.mark.parametrize("kind", NAMES)
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
        for number, kind in enumerate(kind for kind in (*WRITERS, *WRAPPED) if kind != "memit")
    ),
]


@pytest.mark.parametrize(("world", "kind"), KILLED, indirect=["world"])
def test_a_killed_segment_started_again_gives_the_same_bytes(world, tmp_path, kind):
    # Slow enough that the kill lands among the edits.
    long = (
        {"settings": settings_text(kind, steps=20, stop_loss=0.0)}
        if "steps" in settings_of(kind).working.model_dump()
        else {}
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


def test_scores_just_after_the_edit_carry_their_step(world, tmp_path):
    edit(world, tmp_path, "memit", 1, 1, 4)
    scores = read_table(tmp_path / "segment-1/scores.parquet", "scores")
    assert list(scores["edited_at"]) == [1, 2, 3, 4]
    assert list(scores["step"]) == [2, 2, 4, 4]
    edits = read_table(tmp_path / "segment-1/edits.parquet", "edits")
    assert list(edits["batch"]) == [1, 1, 2, 2] and list(edits["step"]) == [1, 2, 3, 4]
    assert list(edits["immediate_efficacy"]) == list(scores["es"])
    assert all(math.isfinite(value) for value in edits["offset_norm"])
