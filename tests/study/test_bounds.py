"""Bounds of the YAML that users give: few lines that stand for much, and deep nesting, are refused at once."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from normgrowth.errors import StudyError
from normgrowth.study import bounds
from normgrowth.study.bounds import DEEPEST, MOST_VALUES, check_command_line, read_yaml
from normgrowth.study.study_files import read_study
from normgrowth.workflow.cluster import read_site

ROOT = Path(__file__).parents[2]


def bomb(write) -> str:
    """Nine anchors, each of nine times the one before."""
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{i}: &a{i} {write([f'*a{i - 1}'] * 9)}" for i in range(1, 10)]
    return "\n".join([*lines, "editor_settings: *a9"]) + "\n"


BOMBS = {
    "lists": bomb(lambda parts: f"[{', '.join(parts)}]"),
    "dictionaries": bomb(lambda parts: "{" + ", ".join(f"k{i}: {part}" for i, part in enumerate(parts)) + "}"),
    "merged": bomb(lambda parts: "{" + f"<<: [{', '.join(parts)}]" + "}"),
    "long": f"models: [{', '.join(['x'] * (MOST_VALUES + 1))}]\n",
}
DEEP = {
    "lists": "models: " + "[" * 1_000_000,
    "closed": "models: " + "[" * 100_000 + "]" * 100_000,
    "dictionaries": "models: " + "{a: " * 20_000 + "1" + "}" * 20_000,
    "blocks": "".join(" " * i + "a:\n" for i in range(1000)),
}
EVERY = BOMBS | {f"deep {name}": text for name, text in DEEP.items()}


def refusal(read) -> str:
    """What is said in refusal, at once and in one line."""
    began = time.process_time()
    with pytest.raises(StudyError) as caught:
        read()
    assert time.process_time() - began < 3
    said = str(caught.value)
    assert "\n" not in said and len(said) < 300
    return said


@pytest.mark.parametrize("name", BOMBS)
def test_what_stands_for_too_much_is_refused(tmp_path, name):
    path = tmp_path / "study.yaml"
    path.write_text(BOMBS[name])
    said = refusal(lambda: read_study(path))
    assert said.startswith(f"{path} stands for ") and said.endswith("the most is 20,000")
    assert refusal(lambda: read_site(path)) == said


@pytest.mark.parametrize("name", DEEP)
def test_deep_nesting_is_refused(tmp_path, name):
    path = tmp_path / "study.yaml"
    path.write_text(DEEP[name])
    assert (
        refusal(lambda: read_study(path))
        == f"{path} is nested {DEEPEST + 1} levels deep or more: {DEEPEST} is the most"
    )


def test_values_of_the_command_line_are_bounded_too():
    assert refusal(lambda: read_study(None, ["models=" + "[" * 1000])).startswith("--config 'models=[[[")
    fields = "{" + ", ".join(f"k{i}: *a" for i in range(200)) + "}"
    value = f"editor_settings=[&a [{', '.join(['1'] * 200)}], {fields}]"
    assert "stands for 20," in refusal(lambda: read_study(None, [value]))


def test_what_contains_itself_is_refused():
    assert refusal(lambda: read_yaml("a: &a [1, *a]", "x")) == "x: *a stands within &a, in itself: write it out"


def test_a_large_file_is_refused_before_it_is_read(tmp_path, capsys):
    path = tmp_path / "study.yaml"
    path.write_text("#" * (bounds.MOST_BYTES + 1))
    assert "has 4,194,305 characters" in refusal(lambda: read_study(path))
    with pytest.raises(SystemExit, match=r"has 4,194,305 bytes: a study's YAML has at most 4,194,304"):
        check_command_line(["--configfile", str(path)])


def test_aliases_and_merges_within_bounds_are_read():
    text = "a: &a {x: 1, y: [2]}\nb: {<<: *a, z: 3}\nc: [*a, *a]\n"
    assert read_yaml(text, "x") == yaml.safe_load(text)


def test_what_is_no_yaml_is_said():
    for text in ("a: [", "a: *nowhere", "\0", "a: 2000-13-01"):
        assert refusal(lambda text=text: read_yaml(text, "x")).startswith("x is not YAML: ")


def size(value) -> int:
    parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    return 1 + sum(map(size, parts))


@given(st.recursive(st.integers(), lambda inner: st.lists(inner, max_size=4).map(lambda part: [*part, part, part])))
def test_aliases_count_as_what_they_repeat(value):
    text = yaml.safe_dump(value)  # which writes what is there twice as an alias
    most = bounds.MOST_VALUES
    try:
        bounds.MOST_VALUES = size(value)
        assert read_yaml(text, "x") == value
        bounds.MOST_VALUES = size(value) - 1
        with pytest.raises(StudyError, match=f"x stands for {size(value):,} values"):
            read_yaml(text, "x")
    finally:
        bounds.MOST_VALUES = most


def test_every_way_to_name_a_study_is_looked_at(tmp_path):
    path, well = tmp_path / "study.yaml", tmp_path / "well.yaml"
    path.write_text(BOMBS["dictionaries"])
    well.write_text("edits: 100\n")
    check_command_line(["-n", "--configfile", str(well), str(tmp_path / "absent"), "--config", "edits=100", "-j", "2"])
    check_command_line(["-Cedits=100", "all", "-nCedits=100", "-C=edits=100"])
    for words in (
        ["--configfile", str(path)], ["--configfile", str(well), str(path)], [f"--configfile={path}"],
        ["--configfiles", str(path)], ["--configf", str(path)], ["-n", "--configfile", str(path), "-j", "1"],
        ["--config", f"a={'[' * 60}"], ["-C", "b=1", f"a={'[' * 60}"],
        [f"-Ca={'[' * 60}"], [f"-C=a={'[' * 60}"], [f"-nCa={'[' * 60}"], ["-nC", "b=1", f"a={'[' * 60}"],
    ):  # fmt: skip
        with pytest.raises(SystemExit, match=r"stands for|is nested"):
            check_command_line(words)


@pytest.mark.slow
@pytest.mark.parametrize("profile", [(), ("--workflow-profile", "none", "--cores", "1")], ids=["profile", "none"])
@pytest.mark.parametrize("name", ["lists", "dictionaries", "merged", "deep closed"])
def test_the_workflow_refuses_at_once(tmp_path, name, profile):
    """Without the profile, Snakemake has read the file before the Snakefile; a `config.yaml` is looked at first."""
    path = tmp_path / ("config.yaml" if profile else "study.yaml")
    path.write_text(EVERY[name])
    given = [] if profile else ["--configfile", str(path)]
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--dry-run", *profile, *given]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 1
    said = [line for line in run.stderr.splitlines() if "workflow specific profile" not in line]
    assert len(said) == 1 and said[0].startswith(f"{path if given else path.name} ")
    assert "stands for" in said[0] or "is nested" in said[0]
