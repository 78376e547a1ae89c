"""What a study will cost: bytes from shapes, hours from published timings, and words on what fits."""

import pytest
import yaml

from normgrowth.cli import main
from normgrowth.editors.registry import declaration
from normgrowth.errors import StudyError
from normgrowth.study import costs, presets
from normgrowth.study.plan import Plan
from normgrowth.study.study_files import merged, read_study


@pytest.fixture
def study(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)
    return read_study(None, ["models=[world-gpt2]", "left_out={}"])


def test_dictionaries_are_merged_and_all_else_replaced():
    assert merged({"a": {"b": 1, "c": [1]}, "d": 2}, {"a": {"c": [2]}, "d": {"e": 3}}) == {
        "a": {"b": 1, "c": [2]},
        "d": {"e": 3},
    }


def test_every_run_of_the_plan_has_a_row_and_its_jobs(study):
    plan, rows = Plan(study), costs.costs(study)
    assert [f"{row.model}/{row.editor}" for row in rows] == plan.runs
    jobs = {row.editor: row.jobs for row in rows}
    assert jobs["ft"] == 2 and jobs["r_rome"] == 16  # a segment and a checkpoint of one order, and of eight
    assert all(row.memory > 0 and row.hours > 0 and row.core_hours > 0 and row.disk >= 0 for row in rows)


def test_hours_follow_the_published_timings_and_the_size_of_the_model():
    slope, _ = costs._fitted()
    assert 0.7 < slope < 1.2
    for row in costs.figures().seconds_per_edit:
        settings = declaration("memit").Settings(steps=row.steps, layers=(1,))
        shape = presets.dimensions(row.model)
        assert costs.seconds_per_edit(shape, settings) == pytest.approx(row.seconds, rel=0.6)


@pytest.mark.parametrize(
    ("kind", "shape", "measured"),
    [
        ("r_rome", costs.Dimensions(30, 576, 1536, 49152, 135e6), 4.9),
        ("ft", costs.Dimensions(30, 576, 1536, 49152, 135e6), 5.4),
        ("r_rome", costs.Dimensions(18, 640, 2048, 262144, 268e6), 8.4),
        ("ft", costs.Dimensions(18, 640, 2048, 262144, 268e6), 3.7),
    ],
)
def test_core_hours_are_within_a_factor_of_two_of_edits_that_were_timed(kind, shape, measured):
    """SmolLM2-135M and Gemma 3 270M on one core, three contexts."""
    seconds = costs._core_seconds_per_edit(shape, declaration(kind).Settings(layers=(4,)), rows=4)
    assert measured / 2.2 < seconds < measured * 2.2


def test_memory_holds_the_weights_and_what_an_editor_gathers():
    shape = costs.Dimensions(32, 4096, 14336, 128256, 8.03e9)
    plain = declaration("ft").Settings(layers=(4,))
    batched = declaration("memit").Settings(layers=(4, 5, 6, 7, 8), batch=100)
    weights = shape.parameters * 4 / 1e9
    assert weights < costs._memory(shape, plain, frozenset()) < weights + 4
    assert costs._memory(shape, batched, batched.needs) > costs._memory(shape, plain, frozenset()) + 8


def test_remedies_cost_what_they_do_beside_their_editor(study):
    """BLUE searches twice; SimIE keeps a matrix [d, d] in float64 with each segment, whatever stands around it."""
    editors = ["memit", "revive-memit", "blue-memit", "simie-memit", "norm_restored-simie-memit"]
    of_remedies = read_study(None, [f"editors={editors}", "models=[world-gpt2]", "left_out={}"])
    rows = {row.editor: row for row in costs.costs(of_remedies)}
    revive = rows["revive-memit"]
    assert revive.memory == rows["memit"].memory
    assert rows["blue-memit"].core_hours > 1.2 * revive.core_hours and rows["blue-memit"].disk == revive.disk
    square = 2 * 384**2 * 8 / 1e9  # of two layers
    for name in editors[3:]:
        assert rows[name].memory - revive.memory == pytest.approx(square)
        assert rows[name].disk - revive.disk >= square * (1 - 1e-9)


def test_the_command_says_what_fits(study, capsys):
    assert main(["plan", "--config", "editors=[ft, memit]", "models=[world-gpt2]", "left_out={}", "--fit", "24GB"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("demo: 50 edits in segments of 50, 9 runs\n")
    assert "world-gpt2  memit" in said and "All of it fits into 24 GB." in said
    assert main(["plan", "--config", "editors=[ft]", "left_out={}", "--fit", "0.5"]) == 0
    said = capsys.readouterr().out
    assert "2 of 2 do not fit into 0.5 GB" in said and "or `gpus: 3`" in said and "Whole models that fit: none." in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fit", "lots"], "--fit is 'lots': give the GPU's memory in gigabytes, as 24GB"),
        (["studies/none.yaml"], "studies/none.yaml does not exist"),
        (["--config", "edits"], "--config 'edits': give key=value"),
        (["--config", "edits=61"], "edits is 61"),
    ],
)
def test_wrong_words_end_in_one_line(study, capsys, words, message):
    assert main(["plan", *words]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_file_that_is_no_study_is_named(study, tmp_path):
    (tmp_path / "s.yaml").write_text("a: [")
    with pytest.raises(StudyError, match=r"s\.yaml is not YAML"):
        read_study(tmp_path / "s.yaml")
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(["a"]))
    with pytest.raises(StudyError, match="holds no configuration"):
        read_study(tmp_path / "s.yaml")
