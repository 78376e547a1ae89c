"""Presets: every value valid and with a source, which of them a study gets, and what the command shows."""

import pytest
import yaml

from normgrowth import cli
from normgrowth.config import presets
from normgrowth.config.load import load_study
from normgrowth.config.plan import Plan
from normgrowth.editors.registry import EDITORS, declaration
from normgrowth.errors import StudyError

ROOT = presets.FOLDER.parents[1]

EVERY = [
    (source, editor, model)
    for source in presets.sources()
    for editor in presets.editors(source)
    for model in presets.covered(source, editor)
]


@pytest.mark.parametrize(("source", "editor", "model"), EVERY)
def test_every_preset_is_valid_and_says_where_each_value_is_from(source, editor, model):
    assert editor in EDITORS
    values = presets.preset(source, editor, model)
    settings = declaration(editor).Settings(**{name: value.value for name, value in values.items()})
    assert settings.layers is None or list(settings.layers) == sorted(settings.layers)
    assert all(isinstance(value.origin, str) and value.origin for value in values.values())
    assert presets.published(model) == model


def test_defaults_name_sources_that_have_the_settings():
    for editor, choices in yaml.safe_load((presets.FOLDER / "defaults.yaml").read_text()).items():
        for model, source in choices.items():
            assert presets.preset(source, editor, model), (editor, model, source)


@pytest.fixture
def study(tmp_path):
    """A study of a local model of 48 blocks that may be called anything."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"n_layer": 48}')

    def of(name="gpt2-xl", editors=("memit",), published_as=None, **settings):
        source = {"kind": "local", "path": str(folder)}
        if published_as:
            source["published_as"] = published_as
        base = yaml.safe_load((ROOT / "config.yaml").read_text())
        base |= {"models": [name], "model_sources": {name: source}, "editors": list(editors)}
        base |= {"left_out": {}, "more_orders": {}, "interventions": {}}
        return load_study({**base, "editor_settings": settings, "edits": 100, "segment": 100})

    return of


def test_a_published_model_has_its_editors_usual_source(study):
    editor = Plan(study()).editor("gpt2-xl", "memit")
    assert editor.settings.layers == (13, 14, 15, 16, 17) and editor.settings.preservation_weight == 20000
    assert editor.origins["layers"] == "preset memit: hparams/MEMIT (GPT2-XL)"
    assert editor.origins["most_probable_stop"] == "default"
    assert Plan(study()).notice is None
    notice = Plan(study(editors=["memit", "pmet", "mend", "norm_restored-memit"])).notice
    assert notice.startswith("normgrowth: no preset names pmet, mend on gpt2-xl: what the study does not set follows")


def test_the_study_wins_over_a_preset_and_a_preset_over_the_default(study):
    chosen = study(memit={"preset": "encore", "clamp": 2.0, "per_model": {"gpt2-xl": {"steps": 7}}})
    editor = Plan(chosen).editor("gpt2-xl", "memit")
    assert (editor.settings.remember, editor.settings.clamp, editor.settings.steps) == ("before_edit", 2.0, 7)
    assert editor.origins["clamp"] == editor.origins["steps"] == "study"
    assert editor.origins["remember"].startswith("preset encore: experiments/")


def test_variants_may_follow_different_sources(study):
    chosen = study(editors=["memit", "memit-encore"], **{"memit-encore": {"preset": "encore"}})
    plan = Plan(chosen)
    assert plan.editor("gpt2-xl", "memit").settings.batch == 10
    assert plan.editor("gpt2-xl", "memit-encore").settings.batch == 100


@pytest.mark.parametrize(("name", "published_as"), [("gpt2xl", None), ("mine", "gpt2-xl"), ("mine", "gpt2xl")])
def test_other_names_of_a_published_model(study, name, published_as):
    assert Plan(study(name, published_as=published_as)).editor(name, "memit").settings.layers[-1] == 17


def test_a_model_that_no_preset_names_follows_its_own_scale_and_the_run_says_so(study):
    plan = Plan(study("mine"))
    editor = plan.editor("mine", "memit")
    assert editor.settings.learning_rate is None and editor.settings.preservation_weight is None
    assert set(editor.origins.values()) == {"default"}
    assert plan.notice.startswith("normgrowth: no preset names mine: what the study does not set follows the model")
    assert '"settings_from":{"mine":{"memit":{"batch":"default"' in plan.as_json


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"memit": {"preset": "encor"}},
            "memit.preset: source 'encor' is unknown; did you mean 'encore'?",
        ),
        (
            {"memit": {"preset": "pmet"}},
            "editor_settings.memit.preset is 'pmet', which holds no settings of memit (alphaedit, easyedit, encore, "
            "encore-paper, memit, unified does)",
        ),
        (
            {"memit": {"preset": "unified"}},
            "editor_settings.memit.preset is 'unified', which holds no settings of memit for gpt2-xl (it does for "
            "llama-2-7b)",
        ),
    ],
)
def test_a_preset_that_does_not_fit_is_refused(study, given, said):
    with pytest.raises(StudyError) as raised:
        study(**given)
    assert said in str(raised.value)


def test_a_preset_needs_a_published_model(study):
    with pytest.raises(StudyError, match="no model of the study is a published one: set published_as of its source"):
        study("mine", memit={"preset": "encore"})
    with pytest.raises(StudyError, match=r"model_sources.mine.published_as: model 'gpt2-xxl' is unknown; did you mean"):
        study("mine", published_as="gpt2-xxl")


def shown(capsys, *words) -> str:
    assert cli.main(["presets", *words]) == 0
    return capsys.readouterr().out


def test_the_command_shows_how_sources_differ(capsys):
    lines = shown(capsys, "diff", "memit", "--model", "llama-3-8b").splitlines()
    assert lines[0] == "memit on llama-3-8b, where sources differ"
    assert lines[1].split() == ["alphaedit", "encore", "encore-paper"]
    assert ["*", "learning_rate", "0.1", "0.5", "-"] in [line.split() for line in lines]
    assert "encore (the usual one): scalable-model-editing/encore at b87d96d" in lines
    assert "no setting differs" in shown(capsys, "diff", "rome", "--model", "gptj")


def test_the_command_shows_an_editor_and_lists_sources(capsys):
    page = shown(capsys, "show", "encore")
    assert "encore on gpt2-xl, * where sources differ" in page and "encore on llama-3-8b" in page
    assert "hparams/ENCORE (Llama-3-8B): layers, steps, preservation_weight" in page
    assert len(shown(capsys, "list").splitlines()) == len(presets.sources())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["diff", "memmit"], "editor 'memmit' is unknown; did you mean 'memit'?"),
        (["diff"], "name an editor: alphaedit, "),
        (["diff", "memit", "--model", "llama-4"], "model 'llama-4' is unknown; did you mean"),
        (["diff", "pmet", "--model", "gpt2-xl"], "no source has settings of pmet for gpt2-xl"),
    ],
)
def test_the_command_says_what_is_wrong(capsys, words, said):
    assert cli.main(["presets", *words]) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
