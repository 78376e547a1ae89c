"""What is gathered before a run is of the same model and settings as the run, or refused."""

import json

import pytest

from normgrowth import cli
from normgrowth.editors.settings import NULL_SPACES, SECOND_MOMENTS
from normgrowth.errors import ArtefactError
from normgrowth.io.tensors import read_tensors, write_tensors
from tests.support.segments import edit, null_spaces, settings_text


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
