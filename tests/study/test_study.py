"""A wrong study ends before any work, in one line that names the key, its value and what is allowed."""

import json
import re
import sys
from copy import deepcopy
from itertools import islice
from pathlib import Path

import pytest
import yaml

from normgrowth.errors import StudyError
from normgrowth.facts.streams import Stream, schedule
from normgrowth.sources.toy.toy_settings import WorldSettings
from normgrowth.sources.toy.world import build_world
from normgrowth.study.inputs import editable_facts, local_path
from normgrowth.study.plan import Plan, compact
from normgrowth.study.sections import World
from normgrowth.study.study_files import laid_over as over_the_default
from normgrowth.study.study_files import load_study, read_study
from tests.support.checkpoints import saved

SHIPPED = yaml.safe_load((Path(__file__).parents[2] / "config.yaml").read_text())
STUDY = {
    "study": "example",
    "models": ["world-gpt2", "world-llama"],
    "editors": ["ft", "r_rome", "memit"],
    "facts": "world",
    "text": "world",
    "heldout_text": "world-heldout",
    "edits": 200,
    "segment": 50,
    "model_sources": {
        "world-gpt2": {"kind": "trained", "world": "world", "training": {"architecture": "gpt2", "layers": 6}},
        "world-llama": {"kind": "trained", "world": "world", "training": {"architecture": "llama", "layers": 6}},
    },
    "fact_sources": {
        "world": {"kind": "world", "settings": {"subjects": 120, "fewest_relations": 4, "most_relations": 8}},
    },
}


FIRST_OF_1000 = sum(slot.kind == "first" for slot in islice(schedule(Stream(put_back=0.2), 0, 0), 1000))


def laid_over(base: dict, changes: dict) -> dict:
    """The configuration that Snakemake makes of two: dictionaries merged, everything else replaced."""
    merged = deepcopy(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = laid_over(merged[key], value) if both else value
    return merged


def message(changes: dict) -> str:
    with pytest.raises(StudyError) as raised:
        load_study(laid_over(STUDY, changes))
    text = str(raised.value)
    assert "\n" not in text
    assert "pydantic" not in text
    return text.removeprefix("error in the study: ")


def test_the_default_study_is_valid():
    plan = Plan(load_study(SHIPPED))
    assert plan.segments * plan.study.segment == plan.study.edits
    assert plan.checkpoints[-1] == plan.study.edits


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"edtis": 5}, "key 'edtis' is unknown; did you mean 'edits'? (known: ability, assets, "),
        (
            {"measure": {"evry": 1}},
            "measure: key 'evry' is unknown; did you mean 'every'? (known: arms, baseline_facts, ",
        ),
        (
            {"model_sources": {"world-gpt2": {"training": {"layres": 3}}}},
            "model_sources.world-gpt2.training: key 'layres' is unknown; did you mean 'layers'?",
        ),
        ({"edits": 0}, "edits is 0: should be greater than or equal to 1"),
        ({"edits": 210}, "edits is 210: it must be a multiple of segment (50), as 200 or 250"),
        ({"edits": 20}, "edits is 20: it must be a multiple of segment (50), as 50"),
        ({"edits": True}, "edits is True: should be a whole number"),
        ({"edits": "many"}, "edits is 'many': should be a whole number"),
        ({"edits": None}, "edits is None: should be a whole number"),
        ({"edits": 5000}, "edits is 5000: 'world' holds 720 facts, and at most 720 can be edited"),
        ({"edits": 150, "unique_subjects": True}, "edits is 150: 'world' holds 120 facts with distinct subjects"),
        (
            {"edits": 700, "fact_sources": {"world": {"reserved": 50}}},
            "edits is 700: 'world' holds 720 facts less 50 reserved, and at most",
        ),
        (
            {"editors": ["mend"]},
            "fact_sources.world.reserved is 0: editor 'mend' is trained on facts that no",
        ),
        ({"edits": 100, "block": 50}, "block is 50: an order edits 100 facts"),
        (
            {"edits": 50, "block": 100, "more_orders": {"world-gpt2": {"ft": 8}}},
            "block is 100: 'world' holds 720 facts, so blocks of 8 orders hold at most 90 facts each",
        ),
        (
            {"stream": {"repeats": 0.7, "put_back": 0.4}},
            "stream: repeats is 0.7 and put_back 0.4: together they are at most 0.9, since the other edits bring the",
        ),
        (
            {"stream": {"repeats": 0.2, "put_back": 0.45}},
            "stream: put_back is 0.45, and 0.35 of the edits are first ones: a fact is put back once at most, so lower",
        ),
        ({"stream": {"repeats": -0.1}}, "stream.repeats is -0.1: should be greater than or equal to 0"),
        ({"stream": {"put_back": 1.5}}, "stream.put_back is 1.5: should be less than or equal to 1"),
        ({"stream": {"gap": 0}}, "stream.gap is 0: should be greater than or equal to 1"),
        ({"stream": 0.1}, "stream is 0.1: should be a dictionary"),
        (
            {"stream": {"repeat": 0.1}},
            "stream: key 'repeat' is unknown; did you mean 'repeats'? (known: gap, put_back, r",
        ),
        (
            {"stream": {"repeats": 0.1}, "fact_sources": {"world": {"settings": {"objects_per_relation": 2}}}},
            "stream.repeats is 0.1: it takes a third object for every relation, and fact_sources.world.settings.obj",
        ),
        (
            {"stream": {"repeats": 0.1, "gap": 200}},
            "stream.gap is 200: in 200 edits no fact would be edited again; lower gap, or raise edits",
        ),
        (
            {"stream": {"repeats": 0.1, "gap": 5}},
            "stream.gap is 5: no batch may hold two edits of one fact, and editor_settings.memit.batch is 10 for model "
            "'world-gpt2': raise gap",
        ),
        (
            {"edits": 1000, "stream": {"put_back": 0.2}},
            f"edits is 1000, which take {FIRST_OF_1000} facts by this stream: 'world' holds 720 facts, and at most",
        ),
        (
            {"editors": ["norm_restored-ultraedit"], "editor_settings": {"ultraedit": {"warm_up": 2}}},
            "fact_sources.world.reserved is 0: editor 'norm_restored-ultraedit' begins with 20 facts that no",
        ),
        ({"editors": ["norm_restored-malmen"]}, "fact_sources.world.reserved is 0: editor 'malmen' is"),
        ({"editors": ["norm_restored"]}, "editors: 'norm_restored' controls another editor: name that one as in"),
        (
            {"editors": ["norm_restored-mimit"]},
            "editor 'norm_restored-mimit' controls 'mimit': editor 'mimit' is unknown; did you mean 'memit'?",
        ),
        (
            {"editors": ["ft", "scale_only-r_rome"]},
            "editor 'scale_only-r_rome' follows the run of 'r_rome', which is not among editors: add it",
        ),
        (
            {
                "editors": ["ft", "norm_restored-ft", "scale_only"],
                "editor_settings": {"scale_only": {"editor": "norm_restored-ft"}},
            },
            "editor 'scale_only' controls 'norm_restored-ft', a control arm itself: name one of the others",
        ),
        ({"editors": ["revive"]}, "editors: 'revive' wraps another editor: name that one as in revive-memit, or in"),
        ({"editors": ["revive-mimit"]}, "editor 'revive-mimit' wraps 'mimit': editor 'mimit' is unknown; did you mean"),
        (
            {"editors": ["sphere-norm_restored-memit"]},
            "editor 'sphere-norm_restored-memit' wraps 'norm_restored-memit', a control arm: name one of the others",
        ),
        (
            {"editors": ["revive-sphere-memit"]},
            "editor 'revive-sphere-memit' wraps 'sphere-memit', a remedy itself: name one of the others",
        ),
        (
            {"editors": ["norm_restored-revive-lora"]},
            "editor 'revive-lora' cannot wrap 'lora': lora keeps an adapter from call to call, which a changed step",
        ),
        (
            {"editors": ["simie-lora"]},
            "editor 'simie-lora' cannot wrap 'lora': lora keeps an adapter from call to call",
        ),
        (
            {"editors": ["blue-r_rome"]},
            "editor 'blue-r_rome' cannot wrap 'r_rome': blue edits two of the layers that an editor spreads its edits "
            "over, and r_rome spreads none",
        ),
        (
            {"editors": ["blue-emmet"]},
            "editor_settings.emmet.layers for model 'world-gpt2': blue edits the first and the last of several layers, "
            "and these are [1]",
        ),
        ({"editors": ["revive-malmen"]}, "fact_sources.world.reserved is 0: editor 'malmen' is"),
        ({"editors": ["norm_restored-revive-malmen"]}, "fact_sources.world.reserved is 0: editor 'malmen' is"),
        (
            {"editors": ["revive-ft"], "editor_settings": {"revive-ft": {"tau": 1}}},
            "editor_settings.revive-ft.tau is 1: should be less than 1",
        ),
        (
            {"editors": ["revive-ft"], "editor_settings": {"revive-ft": {"layers": [1]}}},
            "editor_settings.revive-ft.layers is filled in by the workflow: leave it out",
        ),
        (
            {"editors": ["ft", "revive-ft"], "editor_settings": {"ft": {"layers": [9]}}},
            "editor_settings.ft.layers for model 'world-gpt2': layer 9 does not exist: the model has layers 0 to 5",
        ),
        (
            {"editors": ["ft", "scale_only-ft"], "editor_settings": {"scale_only-ft": {"batch": 2}}},
            "editor_settings.scale_only-ft.batch is filled in by the workflow: leave it out",
        ),
        (
            {"editor_settings": {"r_rome": {"batch": 5}}},
            "editor_settings.r_rome: batch is 5: this editor takes",
        ),
        (
            {"editor_settings": {"rome": {"layers": [1, 2]}}},
            "editor_settings.rome: layers [1, 2]: this editor",
        ),
        (
            {"left_out": {"world-gpt2": ["memmit"]}},
            "left_out.world-gpt2: editor 'memmit' is unknown; did you",
        ),
        ({"left_out": {"gpt": ["memit"]}}, "left_out: model 'gpt' is unknown"),
        (
            {"left_out": {"world-gpt2": ["ft", "r_rome", "memit"]}},
            "left_out.world-gpt2 leaves out every editor",
        ),
        ({"models": "world-gpt2"}, "models is 'world-gpt2': should be a list"),
        ({"models": []}, "models is []: should be longer: it holds at least 1"),
        ({"ability": {"tasks": ["a b"]}}, "ability.tasks.0 is 'a b': String should match pattern"),
        ({"ability": {"tasks": ["piqa", "piqa"]}}, "ability.tasks: 'piqa' stands there twice"),
        ({"ability": {"limit": 0}}, "ability.limit is 0: should be greater than or equal to 1"),
        (
            {"ability": {"tasks": ["own"], "task_folder": "{assets}/tasks"}},
            "ability.task_folder refer to {assets}, but assets is not set",
        ),
        (
            {"ability": {"tasks": ["own"], "task_folder": "nowhere"}},
            "ability.task_folder is 'nowhere', but there is no folder /",
        ),
        ({"models": ["world-gpt"]}, "models.0: model 'world-gpt' is unknown; did you mean 'world-gpt2'?"),
        ({"models": ["world-gpt2", "world-gpt2"]}, "models: 'world-gpt2' stands there twice"),
        (
            {"editors": ["ft", "r_rom"]},
            "editors.1: editor 'r_rom' is unknown; did you mean 'r_rome'? (known: alphaedit, ",
        ),
        ({"editors": ["unedited"]}, "editors.0: editor 'unedited' is unknown"),
        ({"facts": "wrld"}, "facts: source 'wrld' is unknown; did you mean 'world'?"),
        ({"text": "wiki"}, "text: source 'wiki' is unknown (known: world, world-heldout)"),
        ({"device": "gpu"}, "device: value 'gpu' is unknown; did you mean 'cpu'? (known: auto, cpu, cuda)"),
        ({"measure": 3}, "measure is 3: should be a dictionary"),
        ({"unique_subjects": "perhaps"}, "unique_subjects is 'perhaps': should be true or false"),
        ({"figures": {"dpi": 1}}, "figures.dpi is 1: should be greater than or equal to 50"),
        (
            {"model_sources": {"m": {"path": "x"}}},
            "model_sources.m.kind is missing: it is one of gguf, hub, local, trained",
        ),
        (
            {"model_sources": {"m": {"kind": "hug"}}},
            "model_sources.m.kind 'hug' is unknown; did you mean 'hub'?",
        ),
        (
            {"model_sources": {"m": {"kind": "trained", "world": "nowhere"}}},
            "model_sources.m.world: world 'nowhere' is unknown (known: world)",
        ),
        (
            {"text_sources": {"world": {"kind": "local", "paths": ["x"]}}},
            "text_sources.world: a world brings a text of this name",
        ),
        (
            {"fact_sources": {"world": {"settings": {"subjects": 13}}}},
            "fact_sources.world.settings: only 1 subjects would share an object",
        ),
        ({"editor_settings": {"romme": {}}}, "editor_settings: editor 'romme' is unknown; did you mean 'rome'?"),
        ({"editor_settings": {"memit": 3}}, "editor_settings.memit is 3: should be a dictionary"),
        (
            {"editor_settings": {"memit": {"lambda": 3}}},
            "editor_settings.memit: key 'lambda' is unknown (known: batch, ",
        ),
        ({"editor_settings": {"memit": {"clamp": -1}}}, "editor_settings.memit.clamp is -1: should be greater than 0"),
        ({"editor_settings": {"ft": {"layers": [2, 1]}}}, "editor_settings.ft: layers [2, 1] must ascend"),
        (
            {"editor_settings": {"ft": {"layers": [9]}}},
            "editor_settings.ft.layers for model 'world-gpt2': layer 9 does not exist: the model has layers 0 to 5",
        ),
        (
            {"editor_settings": {"memit": {"batch": 7}}},
            "segment is 50: it must be a multiple of every editor's batch, and editor_settings.memit.batch is 7",
        ),
        (
            {"editor_settings": {"memit": {"per_model": {"gpt": {}}}}},
            "editor_settings.memit.per_model: model 'gpt' is unknown (known: world-gpt2, world-llama)",
        ),
        (
            {"editor_settings": {"memit": {"per_model": {"world-gpt2": {"clamp": 0}}}}},
            "editor_settings.memit.per_model.world-gpt2.clamp is 0: should be greater than 0",
        ),
    ],
)
def test_what_is_wrong_is_said(changes, said):
    assert message(changes).startswith(said)


@pytest.mark.parametrize("key", ["study", "edits", "models"])
def test_a_missing_key_is_named_with_its_purpose(key):
    with pytest.raises(StudyError, match=rf"^error in the study: {key} is missing \(\w"):
        load_study({name: value for name, value in STUDY.items() if name != key})


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../up", "a/b", "/etc", "-rf", "a b", "A", "ä", "a\n", "$(rm x)", "a;b", "a'b", "{a}", "x" * 65],
)
def test_names_that_are_no_safe_part_of_a_path_are_refused(name):
    assert "a name is 1 to 64 lower-case letters" in message({"study": name})
    assert "a name is 1 to 64 lower-case letters" in message({"model_sources": {name: STUDY["model_sources"]}})


def test_numbers_as_names_need_quotation_marks():
    assert message({"study": 2024}) == "study is 2024: should be a valid string (put it in quotation marks)"


def test_many_faults_are_one_line():
    said = message({"edits": 0, "segment": 0, "orders": 0, "threads": 0, "seed": -1})
    assert said.count("; ") == 3
    assert said.endswith("; and 2 more")


def test_numbers_may_be_given_as_the_command_line_gives_them():
    study = load_study(laid_over(STUDY, {"measure": {"every": "2"}, "unique_subjects": "false", "edits": "100"}))
    assert (study.measure.every, study.unique_subjects, study.edits) == (2, False, 100)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (b"", "is not JSON"),
        (b"[4]", "is not a JSON object but a list"),
        ('{"n_layer": 4}'.encode("utf-16"), "is not JSON: it is not UTF-8 text"),
        (b"{}", "holds no number of layers (num_hidden_layers, n_layer, num_layers)"),
        (b'{"n_layer": 0}', "says that the model has 0 layers"),
        (b'{"n_layer": true}', "holds no number of layers"),
        (b'{"n_layer": 5}', "says 5 layers, but the weights beside it hold 4"),
        (b'{"n_layer": 3}', "says 3 layers, but the weights beside it hold 4"),
        (b'{"n_layer": 4, "is_encoder_decoder": true}', "is that of an encoder with a decoder"),
        (b'{"n_layer": 4, "quantization_config": {"quant_method": "awq"}}', "asks for quantised weights (awq)"),
    ],
)
def test_a_local_models_configuration_is_looked_at_before_any_work(local, tmp_path, config, said):
    saved("gpt2", tmp_path / "model")  # of four layers
    (tmp_path / "model" / "config.json").write_bytes(config)
    told = message(local)
    assert "model_sources.mine: " in told and f"config.json {said}" in told


@pytest.fixture
def local(tmp_path):
    """Changes that take model, facts and text from a folder."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"n_layer": 3}')
    records = [{"requested_rewrite": {"subject": f'the "{i // 2}" '}, "subjects": []} for i in range(12)]
    (tmp_path / "facts.json").write_text(json.dumps(records))
    (tmp_path / "text.txt").write_text("Text.")
    return {
        "assets": str(tmp_path),
        "models": ["mine"],
        "facts": "mine",
        "text": "mine",
        "heldout_text": "mine",
        "edits": 10,
        "segment": 10,
        "model_sources": {"mine": {"kind": "local", "path": "{assets}/model"}},
        "fact_sources": {"mine": {"kind": "local", "path": "{assets}/facts.json"}},
        "text_sources": {"mine": {"kind": "local", "paths": ["{assets}/text.txt"]}},
    }


def test_local_inputs_are_looked_at_before_any_work(local):
    study = load_study(laid_over(STUDY, local))
    assert Plan(study).editor("mine", "r_rome").settings.layers == (0,)
    assert "edits is 20: 'mine' holds 12 facts" in message(local | {"edits": 20})
    assert "'mine' holds 6 facts with distinct subjects" in message(local | {"unique_subjects": True})
    limited = {"mine": {"kind": "local", "path": "{assets}/facts.json", "limit": 4}}
    assert "'mine' holds 4 facts" in message(local | {"fact_sources": limited})
    deep = {"editor_settings": {"ft": {"layers": [3]}}}
    assert "for model 'mine': layer 3 does not exist: the model has layers 0 to 2" in message(local | deep)


def test_missing_local_inputs_name_key_path_and_remedy(local, tmp_path):
    assert message(local | {"assets": None}) == (
        "model_sources.mine.path and 2 more refer to {assets}, but assets is not set: add `--config assets=FOLDER`"
    )
    assert message(local | {"assets": "/nowhere"}) == (
        "assets is '/nowhere', but there is no such folder: correct `--config assets=FOLDER`"
    )
    (tmp_path / "text.txt").unlink()
    assert message(local) == (
        "text_sources.mine.paths.0 is '{assets}/text.txt', "
        f"but there is no file {tmp_path}/text.txt: correct the path"
    )
    (tmp_path / "model" / "config.json").unlink()
    (tmp_path / "text.txt").write_text("Text.")
    assert "model/config.json does not exist: a model folder is what transformers saves" in message(local)


def test_a_file_has_one_name_however_it_is_spelled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spellings = [local_path("{assets}/x", assets) for assets in ("../a", "../a/", str(tmp_path.parent / "a"), "./../a")]
    assert set(spellings) == {"../a/x"}


def test_the_number_of_facts_in_a_world_is_known_without_making_it():
    for settings in (
        WorldSettings(),
        WorldSettings(subjects=101, relations=9, most_relations=6, objects_per_relation=3),
    ):
        facts = build_world(settings).facts
        source = World(kind="world", settings=settings)
        assert editable_facts(source, None, unique_subjects=False) == len(facts)
        assert editable_facts(source, None, unique_subjects=True) == len({fact.subject for fact in facts})


def test_checkpoints_always_include_the_end():
    study = laid_over(STUDY, {"edits": 250, "segment": 50, "measure": {"every": 2}})
    assert Plan(load_study(study)).checkpoints == [100, 200, 250]


def test_tasks_are_evaluated_before_every_edit_and_after_the_last():
    study = {"edits": 250, "segment": 50, "ability": {"tasks": ["piqa"], "every": 2}}
    assert Plan(load_study(laid_over(STUDY, study))).evaluated == [0, 100, 200, 250]
    assert Plan(load_study(STUDY)).evaluated == []


def test_a_missing_harness_is_a_notice(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    said = Plan(load_study(laid_over(STUDY, {"ability": {"tasks": ["piqa"]}}))).notice.splitlines()
    assert said[-1].startswith("normgrowth: ability.tasks need lm_eval, which is not installed here: pip install ")
    assert "lm_eval" not in (Plan(load_study(STUDY)).notice or "")


def test_settings_of_one_model_are_laid_over_those_of_all():
    changes = {"editor_settings": {"memit": {"clamp": 1, "steps": 5, "per_model": {"world-llama": {"clamp": 2}}}}}
    plan = Plan(load_study(laid_over(STUDY, changes)))
    clamps = [plan.editor(model, "memit").settings.clamp for model in ("world-gpt2", "world-llama")]
    assert clamps == [1, 2]
    assert plan.editor("world-llama", "memit").settings.steps == 5


def test_equal_settings_are_equal_text():
    assert compact({"b": 1, "a": [2]}) == compact({"a": [2], "b": 1}) == '{"a":[2],"b":1}'


def test_an_editor_left_out_of_a_model_does_not_run_on_it():
    study = load_study(laid_over(STUDY, {"left_out": {"world-gpt2": ["memit"]}}))
    runs = Plan(study).runs
    assert "world-gpt2/memit" not in runs and all(f"{model}/ft" in runs for model in study.models)


OF_THE_DEFAULT = ("description", "more_orders", "block", "left_out", "contexts", "measure", "interventions", "vectors")
"""What `config.yaml` chooses for its own study alone."""


def test_every_choice_of_the_default_study_alone_is_known():
    """A key that is new in `config.yaml` either defines, selects or is here."""
    selecting = {"study", "models", "editors", "facts", "text", "heldout_text", "edits", "segment"}
    defining = {"model_sources", "fact_sources", "editor_settings"}
    assert set(SHIPPED) == {*OF_THE_DEFAULT, *selecting, *defining}


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[2] / "studies").glob("*.yaml")), ids=lambda f: f.stem)
def test_studies_that_come_along_take_no_choice_of_the_default_study(file):
    given = yaml.safe_load(file.read_text())
    config = over_the_default(SHIPPED, given)
    assert not (config.keys() & set(OF_THE_DEFAULT)) - given.keys()
    assert config["description"] == given["description"]  # each has its own


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[2] / "studies").glob("*.yaml")), ids=lambda f: f.stem)
def test_a_study_without_a_description_gets_one_of_what_it_is(file, tmp_path):
    given = {key: value for key, value in yaml.safe_load(file.read_text()).items() if key != "description"}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(given))
    records = [{"case_id": i, "requested_rewrite": {"subject": f"Subject {i}"}} for i in range(2000)]
    for name in ("model", "facts.json", "text.txt"):
        (tmp_path / name).mkdir() if name == "model" else (tmp_path / name).write_text(json.dumps(records))
    (tmp_path / "model/config.json").write_text('{"n_layer": 6}')
    sources = {
        "model_sources": {"cf-gpt2-7m": {"path": str(tmp_path / "model")}},
        "fact_sources": {"counterfact": {"path": str(tmp_path / "facts.json")}},
        "text_sources": {name: {"paths": [str(tmp_path / "text.txt")]} for name in ("wikipedia", "wikitext")},
    }
    if file.stem != "counterfact-local":
        del sources["model_sources"]
    local = [f"{key}={json.dumps(value)}" for key, value in sources.items()] if "{assets}" in file.read_text() else []
    local += ["unique_subjects=false"] if local else []
    said = Plan(read_study(tmp_path / "study.yaml", local)).description
    assert "synthetic world" not in said and all(model in said for model in given["models"])
    facts = given.get("facts", "world")
    assert said.startswith(f"{given['edits']:,} edits in sequence, of facts of {facts}, by {len(given['editors'])}")
    assert json.loads(Plan(read_study(tmp_path / "study.yaml", local)).as_json)["description"] == said


@pytest.mark.parametrize("changed", [{"models": ["world-llama"]}, {"editors": ["ft"]}, {"study": "other"}])
def test_a_description_that_would_no_longer_hold_stays_behind(changed):
    assert "description" not in over_the_default(SHIPPED, changed)


@pytest.mark.parametrize("changed", [{}, {"edits": 100}, {"study": "demo"}, {"models": SHIPPED["models"]}])
def test_the_default_study_keeps_its_choices_where_it_stays_itself(changed):
    assert over_the_default(SHIPPED, changed) == SHIPPED | changed


def test_a_stream_needs_facts_for_its_first_edits_alone():
    """900 edits, more than there are facts, of which four in ten are of facts edited before."""
    stream = {"repeats": 0.3, "put_back": 0.1}
    study = load_study(laid_over(STUDY, {"edits": 900, "stream": stream}))
    assert study.stream == Stream(**stream)
    said = "About 30% of the edits write another object into a fact edited before and 10% of the edits put a fact back."
    assert Plan(study).description.endswith(f"world-llama (trained here). {said}")


def test_a_plan_without_a_stream_says_nothing_of_streams():
    plain, zero, some = (
        Plan(load_study(laid_over(STUDY, {"stream": given}))) for given in ({}, {"repeats": 0}, {"put_back": 0.25})
    )
    assert plain.as_json == zero.as_json and "stream" not in json.loads(plain.as_json)
    assert json.loads(some.as_json)["stream"] == {"repeats": 0.0, "put_back": 0.25, "gap": 10}
    assert "of the edits" not in plain.description


def test_a_variation_of_the_default_study_keeps_its_choices_under_another_name():
    changed = {"study": "variation", "models": ["world-gpt2"], "edits": 100}
    kept = set(OF_THE_DEFAULT) - {"description"}
    config = over_the_default(SHIPPED, changed)
    assert {key: config[key] for key in kept} == {key: SHIPPED[key] for key in kept}


def test_what_a_study_says_itself_stands():
    own = {
        "study": "own",
        "facts": "other-world",
        "editors": ["ft"],
        "description": "Mine.",
        "vectors": SHIPPED["vectors"],
        "measure": {"fact_probes": 60},
    }
    config = over_the_default(SHIPPED, own)
    assert config["vectors"] == SHIPPED["vectors"] and config["measure"] == {"fact_probes": 60}
    assert Plan(load_study(config)).description == "Mine."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n", "holds no configuration: a study's file maps keys to values"),
        ("a: [\n", "is not YAML: "),
        ("", "holds no configuration"),
        (b"\xff\xfea", "is not UTF-8: "),
        (None, "does not exist: name a study's file; the studies that come with the software stand in "),
    ],
)
def test_a_file_that_is_no_study_is_said_in_one_line(tmp_path, text, said):
    file = tmp_path / "study.yaml"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(StudyError, match=re.escape(f"{file} {said}")) as raised:
        read_study(file)
    assert "\n" not in str(raised.value)
    with pytest.raises(StudyError, match="is not YAML"):
        read_study(None, ["models=["])


def test_a_long_value_is_cut_in_messages():
    for wrong in ({"models": {"a": ["x"] * 5000}}, {"edits": ["x"] * 5000}, {"editors": ["x" * 5000]}):
        with pytest.raises(StudyError) as caught:
            load_study(SHIPPED | wrong)
        assert len(str(caught.value)) < 2000 and "..." in str(caught.value)


@pytest.mark.parametrize("content", ["", "[1]", "[" * 1_000_000, '{"n_layer": ' * 100_000])
def test_a_local_model_whose_configuration_is_none_is_one_line(tmp_path, content):
    folder = saved("gpt2", tmp_path / "model")
    (folder / "config.json").write_text(content)
    said = message({"model_sources": {"mine": {"kind": "local", "path": str(folder)}}, "models": ["mine"]})
    assert f"{folder / 'config.json'} is not " in said or "config.json is not " in said
    assert "\n" not in said and len(said) < 500
