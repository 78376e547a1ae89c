"""Jobs: one declaration that the command line reads, writes and explains."""

from importlib import import_module
from pathlib import Path
from shlex import split
from typing import get_args

import pytest
from annotated_types import Ge
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from normgrowth import cli
from normgrowth.commands.vet import editors_to_try
from normgrowth.editors.registry import EDITORS, declaration
from normgrowth.editors.settings import EditorSettings
from normgrowth.errors import UsageError
from normgrowth.figures.catalogue import FIGURES
from normgrowth.jobs.command_line import parse, words
from normgrowth.jobs.job import Intact, Job
from tests.support.every_editor import settings_of

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)
NUMBERS = {int: st.integers(-(2**63) + 1, 2**63 - 1), float: st.floats(allow_nan=False, allow_infinity=False)}
OF_A_STUDY = st.dictionaries(TEXT, st.integers(-9, 9) | TEXT | st.lists(st.booleans()), max_size=3)


def kind_of(command: str) -> type[Job]:
    return getattr(import_module(cli._module_name(command)), cli._class_name(command))


def values(draw, command: str, name: str, annotation: object) -> object:
    """A value of a field's type."""
    options = [option for option in get_args(annotation) if option is not type(None)]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation()
    if annotation is bool:
        return draw(st.booleans())
    if annotation in NUMBERS:
        return draw(NUMBERS[annotation])
    if annotation is Path:
        return draw(TEXT.map(Path))
    if annotation is str:
        return draw(TEXT)
    if getattr(annotation, "__origin__", None) is tuple:
        return tuple(values(draw, command, name, options[0]) for _ in range(draw(st.integers(1, 3))))
    if getattr(annotation, "__origin__", None) is dict:
        return draw(OF_A_STUDY)
    if options and all(isinstance(option, str) for option in options):
        return draw(st.sampled_from(options))
    return values(draw, command, name, options[0])


SPECIAL = {
    "editors": st.lists(st.sampled_from(editors_to_try())).map(tuple),
    "figure": st.sampled_from(sorted(FIGURES)),
    "watch": st.floats(0.1, 100),
    "jobs": st.integers(1, 100),
    "after": st.integers(1, 100),
}
"""Fields of which not every value of the type is one."""


@st.composite
def jobs(draw, command: str) -> Job:
    kind, chosen = kind_of(command), {}
    for name, field in kind.model_fields.items():
        if not field.is_required() and draw(st.booleans()):
            continue
        if name == "editor" and "settings" in kind.model_fields:
            chosen[name] = draw(st.sampled_from(sorted(EDITORS)))
        elif field.annotation is EditorSettings:
            chosen[name] = settings_of(chosen["editor"])
        elif (least := next((mark.ge for mark in field.metadata if isinstance(mark, Ge)), None)) is not None:
            chosen[name] = draw(st.integers(least, 2**63 - 1))
        elif name in SPECIAL:
            chosen[name] = draw(SPECIAL[name])
        elif any(mark.__class__.__name__ == "Positional" for mark in field.metadata):
            chosen[name] = draw(st.sampled_from(get_args(field.annotation))) if name == "what" else "a b'c"
        else:
            chosen[name] = values(draw, command, name, field.annotation)
    return kind(**chosen)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_words_and_back_make_the_same_job(command, monkeypatch):
    """The files that a job names are not looked at here."""
    monkeypatch.setattr("normgrowth.jobs.command_line.READING", None)

    @settings(max_examples=40, deadline=None)
    @given(jobs(command))
    def round_trip(job):
        assert parse(type(job), split(words(job))) == job

    round_trip()


class Example(Job):
    """A job of every kind of option."""

    number: int
    share: float = 0.5
    names: tuple[str, ...] = ()
    quiet: bool = False
    file: Intact | None = None
    json_: Path | None = None


def test_defaults_are_left_out_and_what_a_shell_would_read_is_quoted():
    assert words(Example(number=1)) == "--number 1"
    job = Example(number=-1, share=1e-5, names=("a b", "$HOME"), quiet=True)
    assert words(job) == "--number=-1 --share 1e-05 --names 'a b' '$HOME' --quiet"
    assert words(Example(number=1, names=("-x", "y"))) == "--number 1 --names=-x --names=y"


def test_a_field_whose_name_a_model_has_itself_has_an_option_without_the_underscore():
    assert words(Example(number=1, json_=Path("a.json"))) == "--number 1 --json a.json"
    assert parse(Example, ["--number", "1", "--json", "a.json"]).json_ == Path("a.json")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--number", "x"], "--number: should be a whole number, not 'x'"),
        (["--number", "1.5"], "--number: should be a whole number, not '1.5'"),
        (["--number", "1", "--share", "much"], "--share: should be a number, not 'much'"),
        (["--number", "1", "--share", "nan"], "--share: should be a finite number, not 'nan'"),
    ],
)
def test_a_value_that_is_none_is_named_with_its_option(given, said):
    with pytest.raises(UsageError) as error:
        parse(Example, given)
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["world", "--seed", "1"], "required: --settings, --facts, --text, --heldout, --corpus"),
        (["summary", "--tables", "x", "--colour", "red"], "unrecognized arguments: --colour red"),
        (["contexts", "--model", "m", "--seed", "x", "--out", "o"], "--seed: should be a whole number, not 'x'"),
        (["presets", "sing"], "argument what: invalid choice: 'sing' (choose from"),
        (["presets", "--model"], "argument --model: expected one argument"),
    ],
)
def test_wrong_usage_is_one_line_and_ends_with_2(given, said, capsys):
    try:
        code = cli.main(given)
    except SystemExit as end:
        code = end.code
    (line,) = capsys.readouterr().err.splitlines()
    assert code == 2
    assert line.startswith(f"normgrowth {given[0]}: ") or line.startswith("normgrowth: ")
    assert said in line


def test_the_environment_fills_in_no_option(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text("NUMBER=1\nSHARE=0.9\n")
    monkeypatch.chdir(tmp_path)
    for name in ("share", "SHARE", "normgrowth_share", "NORMGROWTH_SHARE"):
        monkeypatch.setenv(name, "0.9")
    monkeypatch.setenv("NUMBER", "1")
    assert parse(Example, ["--number", "2"]) == Example(number=2, share=0.5)
    with pytest.raises(SystemExit):
        parse(Example, [])


def test_files_are_looked_at_only_where_a_job_is_read(tmp_path):
    absent = tmp_path / "absent.json"
    assert Example(number=1, file=absent).file == absent
    with pytest.raises(Exception, match=r"absent\.json"):
        parse(Example, ["--number", "1", "--file", str(absent)])


@pytest.mark.parametrize("editor", sorted(EDITORS))
def test_settings_are_those_of_the_editor(editor):
    edit = kind_of("edit")
    given = {name: "1" for name, field in edit.model_fields.items() if field.is_required()}
    job = edit(**given | {"editor": editor, "settings": "{}"})
    assert type(job.settings) is declaration(editor).Settings
    with pytest.raises(ValueError, match=r"colour is 1: .*settings are layers"):
        edit(**given | {"editor": editor, "settings": '{"colour": 1}'})


def test_an_unknown_editor_is_refused_with_those_known():
    edit = kind_of("edit")
    given = {name: "1" for name, field in edit.model_fields.items() if field.is_required()}
    with pytest.raises(ValueError, match="unknown editor 'none'; known are alphaedit"):
        edit(**given | {"editor": "none", "settings": "{}"})


def test_two_hyphens_are_a_value():
    command = kind_of("fetch-file")
    job = command(url="--", sha256="--", out=Path("--"))
    assert parse(command, split(words(job))) == job
