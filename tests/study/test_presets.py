"""Presets: every value that of its source, none forgotten, which of them a study gets, and what the command shows."""

from pathlib import Path

import pytest
import yaml

from normgrowth import cli
from normgrowth.editors.registry import EDITORS, declaration
from normgrowth.errors import StudyError
from normgrowth.study import presets
from normgrowth.study.plan import Plan
from normgrowth.study.study_files import load_study

ROOT = presets.FOLDER.parents[4]

EVERY = [
    (source, editor, model)
    for source in presets.sources()
    for editor in presets.editors(source)
    for model in presets.covered(source, editor)
]


PUBLISHED = yaml.safe_load((Path(__file__).parent / "published_hyperparameters.yaml").read_text())
"""By source, editor and model: the file, and what it states under the source's own names."""

SEARCH = {
    "layers": "layers",
    "v_num_grad_steps": "steps",
    "v_lr": "learning_rate",
    "v_weight_decay": "weight_decay",
    "kl_factor": "kl_factor",
    "clamp_norm_factor": "clamp",
    "mom2_adjustment": "use_second_moment",
    "mom2_update_weight": "preservation_weight",
    "update_norm_lambda": "norm_weight",
    "emmet_lambda": "slack",
    "nullspace_threshold": "null_space_threshold",
    "L2": "norm_weight",
    "prob_cutoff": "most_probable_stop",  # as a negative number
}
TRAINING = {
    "layers": "layers",
    "num_steps": "steps",
    "lr": "learning_rate",
    "weight_decay": "weight_decay",
    "norm_constraint": "radius",
    "batch_size": "batch",
    "rank": "rank",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
}
"""Settings here by their names in the sources' files."""

OWN = {  # what sources do in their code and not in those files, by source and editor
    ("alphaedit", "alphaedit"): {"stop_loss": 0.05, "most_probable_stop": 0, "batch": 100, "remember": "after_edit"},
    ("alphaedit", "ft"): {"stop_loss": 0.01, "batch": 1},
    ("alphaedit", "ft_l"): {"stop_loss": 0.01, "batch": 1, "recentre": True},
    ("alphaedit", "memit"): {
        "stop_loss": 0.05, "most_probable_stop": 0, "batch": 100, "norm_weight": 0, "remember": "nothing",
    },
    ("alphaedit", "rome"): {"stop_loss": 0.05, "most_probable_stop": 0, "batch": 1},
    ("easyedit", "alphaedit"): {"stop_loss": 0.05, "most_probable_stop": 0, "batch": 1, "remember": "after_edit"},
    ("easyedit", "emmet"): {"stop_loss": 0.05, "most_probable_stop": 0, "batch": 1, "remember": "nothing"},
    ("easyedit", "ft"): {"stop_loss": 0.01},
    ("easyedit", "ft_l"): {"stop_loss": 0.01, "recentre": True},
    ("easyedit", "lora"): {"stop_loss": 0},
    ("easyedit", "memit"): {
        "stop_loss": 0.05, "most_probable_stop": 0, "batch": 1, "norm_weight": 0, "remember": "nothing",
    },
    ("easyedit", "pmet"): {
        "stop_loss": 0.05, "most_probable_stop": 0, "batch": 1, "norm_weight": 0, "remember": "nothing",
        "relaxed_likelihood": 0.1, "divergence_stop": 0.01,
    },
    ("easyedit", "r_rome"): {"stop_loss": 0.05, "most_probable_stop": 0, "batch": 1},
    ("easyedit", "rome"): {"stop_loss": 0.05, "most_probable_stop": 0, "batch": 1},
    ("encore", "alphaedit"): {"stop_loss": 0.05, "batch": 100, "remember": "before_edit"},
    ("encore", "emmet"): {"stop_loss": 0.05, "batch": 100, "remember": "before_edit"},
    ("encore", "encore"): {"stop_loss": 0.05, "batch": 100, "remember": "before_edit"},
    ("encore", "memit"): {"stop_loss": 0.05, "batch": 100, "remember": "before_edit"},
    ("memit", "memit"): {"stop_loss": 0.05, "most_probable_stop": 0, "norm_weight": 0, "remember": "nothing"},
    ("nas", "nas"): {
        "stop_loss": 0.05, "most_probable_stop": 0, "batch": 1, "remember": "after_edit", "pilot_facts": 1000,
        "reject_above": 2,
    },
    ("pmet", "pmet"): {
        "stop_loss": 0.05, "most_probable_stop": 0, "batch": 100, "norm_weight": 0, "remember": "nothing",
        "relaxed_likelihood": 0.1, "divergence_stop": 0.01,
    },
    ("rebuilding-rome", "r_rome"): {"stop_loss": 0.05, "most_probable_stop": 0, "batch": 1},
    ("rome", "ft"): {"stop_loss": 0.01, "batch": 1},
    ("rome", "ft_l"): {"stop_loss": 0.01, "batch": 1, "recentre": True},
    ("rome", "rome"): {"stop_loss": 0.05, "most_probable_stop": 0, "batch": 1},
    ("unified", "emmet"): {"stop_loss": 0.05, "most_probable_stop": 0, "remember": "nothing"},
    ("unified", "ft"): {"stop_loss": 0.01, "batch": 1},
    ("unified", "ft_l"): {"stop_loss": 0.01, "batch": 1, "recentre": True},
    ("unified", "memit"): {"stop_loss": 0.05, "most_probable_stop": 0, "norm_weight": 0, "remember": "nothing"},
    ("unified", "rome"): {"stop_loss": 0.05, "most_probable_stop": 0, "batch": 1},
}  # fmt: skip

ABSENT = {("memit", "memit"): {"batch"}, ("unified", "memit"): {"batch"}, ("unified", "emmet"): {"batch"}}
ABSENT |= {("easyedit", "lora"): {"layers"}}
"""Settings that a source gives no one value."""

PAPER = {  # the tables of arXiv 2502.01636: lambda, early stop and, for ENCORE, lambda_n
    ("encore", "gpt2-xl"): (20000, 4, 10), ("encore", "llama-2-7b"): (15000, 3, 10),
    ("encore", "llama-3-8b"): (15000, 2, 20), ("alphaedit", "gpt2-xl"): (None, 2, None),
    ("alphaedit", "llama-2-7b"): (None, 1, None), ("alphaedit", "llama-3-8b"): (None, 1, None),
    ("emmet", "gpt2-xl"): (10000, 2, None), ("emmet", "llama-2-7b"): (15000, 1, None),
    ("emmet", "llama-3-8b"): (15000, 1, None), ("memit", "gpt2-xl"): (20000, 3, None),
    ("memit", "llama-2-7b"): (15000, 2, None), ("memit", "llama-3-8b"): (15000, 3, None),
}  # fmt: skip


def published_values(source: str, editor: str, model: str) -> dict[str, object]:
    """What a source gives an editor on a model, under the names used here."""
    if source == "encore-paper":
        names = ("preservation_weight", "most_probable_stop", "norm_weight")
        stated = {name: value for name, value in zip(names, PAPER[editor, model], strict=True) if value is not None}
        return published_values("encore", editor, model) | stated
    names = TRAINING if editor in ("ft", "ft_l", "lora") else SEARCH
    stated = {names[name]: value for name, value in PUBLISHED[source][editor][model]["states"].items()}
    if source == "encore":
        stated["most_probable_stop"] = -stated["most_probable_stop"]
    return stated | OWN[source, editor]


@pytest.mark.parametrize(("source", "editor", "model"), EVERY)
def test_every_preset_has_the_values_of_its_source_and_forgets_none(source, editor, model):
    found = {name: value.value for name, value in presets.preset(source, editor, model).items()}
    assert found == published_values(source, editor, model)
    left_out = ABSENT.get((source, editor), set())
    assert set(presets.absent(source, editor, model)) == left_out
    assert found.keys() | left_out == set(declaration(editor).Settings.model_fields)


def test_every_file_of_a_source_is_a_preset_that_names_it():
    for source, editors in PUBLISHED.items():
        for editor, models in editors.items():
            assert list(models) == presets.covered(source, editor)
            for model, published in models.items():
                origin = presets.preset(source, editor, model)["steps"].origin
                assert origin == published["file"], (source, editor, model)
    assert {(source, editor) for source, editors in PUBLISHED.items() for editor in editors} == set(OWN)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda preset: preset["gpt-j-6b"]["values"].pop("kl_factor"),
            "presets/pmet.yaml: pmet on gpt-j-6b says nothing of kl_factor: give a value, or list it under "
            "`absent` with the reason",
        ),
        (
            lambda preset: (preset["all"]["also"].pop("batch"), preset["gpt-j-6b"]["values"].pop("layers")),
            "presets/pmet.yaml: pmet on gpt-j-6b says nothing of batch, layers: give",
        ),
        (
            lambda preset: preset["gpt-j-6b"]["values"].update(learning_rat=0.2),
            "presets/pmet.yaml: pmet on gpt-j-6b names learning_rat, which the editor has not",
        ),
        (
            lambda preset: preset["gpt-j-6b"].update(absent={"clamp": "it varies"}),
            "presets/pmet.yaml: pmet on gpt-j-6b gives a value for clamp and lists it under `absent`",
        ),
        (
            lambda preset: preset["gpt-j-6b"].update(absent={"slack": "it has none"}),
            "presets/pmet.yaml: pmet on gpt-j-6b names slack, which the editor has not",
        ),
    ],
)
def test_an_incomplete_preset_is_refused(monkeypatch, change, said):
    file = yaml.safe_load((presets.FOLDER / "pmet.yaml").read_text())
    change(file["presets"]["pmet"])
    monkeypatch.setattr(presets, "_source", lambda name: presets.Source(**file))
    with pytest.raises(StudyError) as raised:
        presets.preset("pmet", "pmet", "gpt-j-6b")
    assert str(raised.value).startswith(said) and "\n" not in str(raised.value)


def test_a_setting_that_its_source_leaves_open_has_the_editors_default(study):
    editor = Plan(study()).editor("gpt2-xl", "memit")
    assert editor.settings.batch == 10 and editor.origins["batch"] == "default"


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
        base |= {"left_out": {}, "more_orders": {}, "block": None, "interventions": {}}
        return load_study({**base, "editor_settings": settings, "edits": 100, "segment": 100})

    return of


def test_a_published_model_has_its_editors_usual_source(study):
    editor = Plan(study()).editor("gpt2-xl", "memit")
    assert editor.settings.layers == (13, 14, 15, 16, 17) and editor.settings.preservation_weight == 20000
    assert editor.origins["layers"] == "preset memit: hparams/MEMIT/gpt2-xl.json"
    assert editor.origins["most_probable_stop"] == "preset memit: memit/compute_z.py (no such stop)"
    assert Plan(study()).notice is None
    notice = Plan(study(editors=["memit", "pmet", "mend", "norm_restored-memit"])).notice
    assert notice.startswith("normgrowth: no preset names pmet, mend on gpt2-xl: what the study does not set follows")


def test_the_study_wins_over_a_preset_and_a_preset_over_the_default(study):
    chosen = study(memit={"preset": "encore", "clamp": 2.0, "per_model": {"gpt2-xl": {"steps": 7}}})
    editor = Plan(chosen).editor("gpt2-xl", "memit")
    assert (editor.settings.remember, editor.settings.clamp, editor.settings.steps) == ("before_edit", 2.0, 7)
    assert editor.origins["clamp"] == editor.origins["steps"] == "study"
    assert editor.origins["remember"].startswith("preset encore: memit/memit_main.py")


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
            {"pmet": {"preset": "easyedit"}},
            "editor_settings.pmet.preset is 'easyedit', which holds no settings of pmet for gpt2-xl (it does for "
            "gpt-j-6b, llama-2-7b)",
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
    assert ["*", "learning_rate", "0.1", "0.5", "0.5"] in [line.split() for line in lines]
    assert "encore (the usual one): scalable-model-editing/encore at b87d96d" in lines
    assert "no setting differs" in shown(capsys, "diff", "ft", "--model", "gptj")


def test_the_command_shows_an_editor_and_lists_sources(capsys):
    page = shown(capsys, "show", "encore")
    assert "encore on gpt2-xl, * where sources differ" in page and "encore on llama-3-8b" in page
    assert "hparams/ENCORE/llama3-8b.json: layers, steps, learning_rate" in page
    assert "  absent: batch: each experiment has its own number of edits" in shown(capsys, "show", "memit")
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
