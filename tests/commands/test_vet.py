"""The command `vet` on small models, as a user runs it."""

import json
import shutil

import pytest

from normgrowth import cli
from normgrowth.commands.vet import Vet, editors_to_try
from normgrowth.editors.families import in_order
from normgrowth.editors.registry import EDITORS
from normgrowth.editors.settings import HYPERNETWORK, WrapperSettings
from normgrowth.sources.loading import load_model
from normgrowth.sources.manifest import QUANTISATION, write_manifest
from normgrowth.study.chosen_editors import by_default, declaration
from tests.support import small_models


@pytest.fixture
def facts(tmp_path):
    """A user's file of facts: of the workflow's files it has neither place nor digest."""
    path = tmp_path / "my facts.json"
    path.write_text(json.dumps(small_models.records()), encoding="utf-8")
    return path


@pytest.fixture
def model(tmp_path):
    """A user's model folder, without a manifest."""
    folder = small_models.save("llama", tmp_path / "my-model")
    for file in folder.glob("manifest*"):
        file.unlink()
    return folder


def vet(*words) -> int:
    return cli.main(["vet", *map(str, words), "--device", "cpu", "--threads", "1"])


def test_a_folder_and_facts_give_a_page(model, facts, tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text(small_models.text(), encoding="utf-8")
    page, numbers = tmp_path / "out" / "page.md", tmp_path / "out" / "page.json"
    words = ["--facts", 5, "--edits", 2, "--editors", "r_rome", "ft", "--text", text, "--out", page, "--json", numbers]
    assert vet(model, facts, *words) == 0
    said = capsys.readouterr()
    assert said.out.startswith("A first look at my-model, with my facts.json (seed 0)\n")
    assert "LlamaForCausalLM: 4 layers, width 32" in said.out
    assert "single edits by ft: 2/2" in said.err and "single edits by r_rome: 2/2" in said.err
    found = json.loads(numbers.read_text(encoding="utf-8"))
    assert [trial["editor"] for trial in found["trials"]] == ["ft", "r_rome"]
    assert [trial["made"] for trial in found["trials"]] == [2, 2]
    assert (found["knowledge"]["asked"], found["knowledge"]["scored"]) == (6, 5)
    assert found["perplexity"]["value"] > 1 and found["moment_text"]["read"] > 0
    assert "| r_rome | 1 |" in page.read_text(encoding="utf-8")
    assert sorted(path.name for path in page.parent.iterdir()) == ["page.json", "page.md"]


def test_the_same_seed_gives_the_same_numbers(model, facts, tmp_path):
    found = []
    for number, seed in enumerate([1, 1, 2]):
        path = tmp_path / f"{number}.json"
        assert vet(model, facts, "--edits", 1, "--editors", "r_rome", "--seed", seed, "--json", path) == 0
        found.append(json.loads(path.read_text(encoding="utf-8")))
        del found[-1]["trials"][0]["seconds"]
    assert found[0] == found[1] != found[2]


def test_a_model_that_knows_nothing_is_said_at_the_top(model, facts, capsys):
    assert vet(model, facts, "--edits", 1, "--editors", "ft") == 0
    said = capsys.readouterr()
    assert "the model says the true object of 0 of 6 facts\n" in said.err
    assert said.out.splitlines()[2].startswith(
        "Sequential edits of these facts will say nothing about what the model for"
    )


def test_quantised_weights_are_said_to_be(model, facts, capsys):
    write_manifest(model, {"kind": "gguf", QUANTISATION: "Q4_1 (79%), turned back into float32"})
    assert vet(model, facts, "--edits", 1, "--editors", "ft") == 0
    assert "Its weights: Q4_1 (79%), turned back into float32." in " ".join(capsys.readouterr().out.split())


def test_facts_of_zsre(model, tmp_path, capsys):
    path = tmp_path / "zsre.json"
    records = [
        {"subject": subject, "src": f"Where was {subject} born?", "rephrase": f"The home of {subject}?",
         "answers": ["Oslo"], "alt": "Rome", "loc": "nq question: x", "loc_ans": "y"}
        for subject in small_models.SUBJECTS
    ]  # fmt: skip
    path.write_text(json.dumps(records), encoding="utf-8")
    assert vet(model, path, "--format", "zsre", "--edits", 1, "--editors", "ft") == 0
    assert "in percent: ES " in capsys.readouterr().out
    assert vet(model, path, "--editors", "ft") == 1
    assert "the record is in zsRE's schema: set `format: zsre`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--editors", "ft", "mend"], 2, "--editors: mend cannot be tried on a model at once; editors that can are ft"),
        (["--editors", "no_feedback"], 2, "--editors: no_feedback cannot be tried on a model at once"),
        (["--editors", "rmoe"], 2, "--editors: rmoe cannot be tried on a model at once"),
        (["--edits", "0"], 2, "--edits: should be greater than or equal to 1, not '0'"),
        (["--facts", "many"], 2, "--facts: should be a whole number, not 'many'"),
        (["--text", "nowhere.txt"], 1, "nowhere.txt"),
        (["--json", "{facts}/page.json"], 1, "is a file, where a folder belongs"),
    ],
)  # fmt: skip
def test_wrong_words_are_one_line(model, facts, capsys, words, code, said):
    given = [word.replace("{facts}", str(facts)) for word in words]
    assert cli.main(["vet", str(model), str(facts), "--threads", "1", *given]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("normgrowth vet: ") and said in line


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda model, facts: shutil.rmtree(model), "does not exist"),
        (lambda model, facts: (model / "model.safetensors").unlink(), "lacks"),
        (lambda model, facts: facts.unlink(), "my facts.json"),
        (lambda model, facts: facts.write_text("[]"), "must hold a non-empty JSON list of records, but its list is"),
        (lambda model, facts: facts.write_text('[{"case_id": 1}]'), "record 0 (case_id 1): field 'requested_rewrite'"),
    ],
)  # fmt: skip
def test_wrong_files_are_one_line(model, facts, capsys, damage, said):
    damage(model, facts)
    assert vet(model, facts) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("normgrowth vet: ") and said in line


def test_a_folder_named_like_a_published_model_of_another_depth_is_refused(model, facts, capsys):
    folder = model.rename(model.with_name("gpt2-xl"))
    assert vet(folder, facts, "--editors", "rome") == 1
    line = capsys.readouterr().err
    assert (
        "rome: layer 17 does not exist: the model has layers 0 to 3; by its name 'gpt2-xl' it would be the published"
        in line
    )


def test_all_editors_are_tried_that_edit_by_themselves_and_need_no_training():
    tried = Vet(model="m", facts_file="f", editors=[*reversed(editors_to_try()), "ft"]).editors
    kinds = {kind: declaration(kind).Settings for kind in EDITORS}
    arms = {kind for kind, settings in kinds.items() if issubclass(settings, WrapperSettings)}
    trained = {kind for kind, settings in kinds.items() if kind not in arms and HYPERNETWORK in settings().needs}
    assert trained == {"mend", "malmen"}
    assert set(tried) == EDITORS.keys() - arms - trained
    assert tried[:3] == ("ft", "ft_l", "lora") and list(tried) == in_order(tried)


def test_settings_are_those_of_a_study_that_sets_nothing(tmp_path):
    depth = load_model(small_models.save("gpt2", tmp_path / "m")).anatomy.n_layers
    unnamed = by_default("memit", "m", depth)
    assert unnamed.settings.layers == (0, 1) and set(unnamed.origins.values()) == {"default"}
    published = by_default("memit", "GPT2-XL", 48)
    assert published.settings.layers == (13, 14, 15, 16, 17)
    assert published.origins["layers"].startswith("preset ")
