"""The library: what it does is what the commands do, undoing is exact, and wrong input ends in one line."""

import inspect
import math
import pkgutil
import warnings

import pandas as pd
import pytest
import torch

import normgrowth as ng
from normgrowth import cli
from normgrowth.api.facts import given_facts
from normgrowth.commands import edit as edit_command
from normgrowth.editors.registry import declaration
from normgrowth.errors import ArtefactError, EditError, FactError, ModelError, StudyError
from normgrowth.facts.orders import edit_order
from normgrowth.facts.records import read_facts
from normgrowth.facts.streams import ONCE
from normgrowth.io.documents import write_json, write_text
from normgrowth.io.tables import read_table
from normgrowth.jobs.command_line import parse
from normgrowth.measure.scores import score_facts
from normgrowth.runs.state import restore
from normgrowth.sources.loading import load_model
from tests.support import planted, small_models
from tests.support.every_editor import SETTINGS
from tests.support.segments import settings_text
from tests.support.web import REVISION, serving

MOMENT_TOKENS = 20 * 64
"""Ten tokens for each unit of GPT-2's keys here: the least that is gathered."""

PLAIN = [
    {"subject": "Vela Marun", "prompt": "{} was born in", "target": "Oslo"},
    {"subject": "Zé", "prompt": "The home of Zé is", "target": "New Delhi"},
    {"subject": "Tirel", "prompt": "Ask where Tirel was born: in", "target": "Rome"},
]


@pytest.fixture
def text(tmp_path):
    """Running text with its digest, as commands ask for it."""
    path = tmp_path / "text.txt"
    write_text(path, small_models.text() + "\n\n" + small_models.text())
    return path


def weights(lm) -> list[torch.Tensor]:
    return [parameter.clone() for parameter in lm.model.parameters()]


def same(first, second) -> bool:
    return all(map(torch.equal, first, second))


def quick(kind: str, **changes) -> dict:
    """Settings with which an editor is quick on a small model."""
    return SETTINGS[kind] | changes


def edited_by_commands(kind: str, folder, text, model) -> None:
    """Segments 1 and 2 of a run of two edits each, made by the commands alone."""
    of_model = ["--model", model, "--device", "cpu", "--threads", 1]
    contexts, moments, spaces = (folder / name for name in ("contexts.json", "m.safetensors", "n.safetensors"))
    layers = quick(kind)["layers"]

    def command(name, *words):
        assert cli.main([name, *map(str, words)]) == 0

    command("contexts", *of_model, "--seed", 0, "--out", contexts)
    amounts = ["--tokens", MOMENT_TOKENS, "--window", 64, "--seed", 0]
    command("statistics", *of_model, "--text", text, "--layers", *layers, *amounts, "--out", moments)
    gathered = ["--contexts", contexts, "--statistics", moments]
    if "null_space_threshold" in quick(kind):
        threshold = ["--threshold", quick(kind)["null_space_threshold"]]
        command("null-spaces", *of_model[:2], "--layers", *layers, "--statistics", moments, *threshold, "--out", spaces)
        gathered += ["--null-spaces", spaces]
    names = ["--study", "s", "--model-name", model.name, "--editor-name", kind, "--order", 0, "--editor", kind]
    given = [
        "--facts",
        folder / "facts.json",
        "--settings",
        settings_text(kind),
        "--seed",
        0,
        "--chain",
        folder / "run",
    ]
    for segment in (1, 2):
        steps = ["--segment", segment, "--first", 2 * segment - 1, "--last", 2 * segment]
        words = [*of_model, *names, *given, *gathered, *steps]
        edit_command.run(parse(edit_command.Edit, [str(word) for word in words]))


@pytest.mark.parametrize("kind", ["memit", "alphaedit", "r_rome", "ft", "lora"])
def test_edits_are_those_of_the_commands(kind, model_folder, tmp_path, text):
    write_json(tmp_path / "facts.json", small_models.records())
    edited_by_commands(kind, tmp_path, text, model_folder)
    by_commands = load_model(model_folder)
    restore(by_commands, tmp_path / "run", 2, {})
    lm = ng.load(model_folder, device="cpu", threads=1)
    order = edit_order(read_facts(tmp_path / "facts.json"), 0, 0, False, 0, None, ONCE)
    given = {"text": text, "moment_tokens": MOMENT_TOKENS, "pool": order, **quick(kind)}
    first = ng.edit(lm, order[:2], kind, **given)
    edited = ng.edit(lm, order[2:4], after=first)
    assert same(weights(lm), weights(by_commands))
    for name in ("norms", "edits", "scores"):
        theirs = pd.concat(read_table(tmp_path / f"run/segment-{k}/{name}.parquet", name) for k in (1, 2))
        ours = getattr(edited, name)
        shared = [column for column in theirs if column in ours and column != "edit_seconds"]
        assert set(theirs) - set(shared) == {"study", "model", "editor", "order"}
        for column in shared:
            if ours[column].dtype.kind == "f":
                theirs[column], ours[column] = theirs[column].astype("float32"), ours[column].astype("float32")
        pd.testing.assert_frame_equal(
            ours[shared], theirs[shared].reset_index(drop=True), check_dtype=False, check_exact=True
        )
    assert list(edited.edits["batch"]) == ([1, 1, 2, 2] if edited.settings.batch == 2 else [1, 2, 3, 4])


@pytest.mark.parametrize("kind", ["memit", "ft", "r_rome"])
def test_undoing_is_exact_call_by_call(lm, kind):
    unedited = weights(lm)
    first = ng.edit(lm, small_models.facts()[:2], kind, **quick(kind))
    between = weights(lm)
    second = ng.edit(lm, small_models.facts()[2:4], after=first)
    end = weights(lm)
    assert not same(unedited, between) and not same(between, end)
    with second.undone():
        assert same(weights(lm), unedited)
    assert same(weights(lm), end)
    with pytest.raises(EditError, match=rf"not those that these edits by {kind} left: .* undo the latest first"):
        ng.undo(first)
    ng.undo(second)
    assert same(weights(lm), between)
    with pytest.raises(EditError, match="they are undone already"):
        ng.undo(second)
    again = ng.edit(lm, small_models.facts()[2:4], after=first)
    assert same(weights(lm), end)
    pd.testing.assert_frame_equal(again.norms, second.norms, check_exact=True)
    ng.undo(again)
    ng.undo(first)
    assert same(weights(lm), unedited)


def test_going_on_is_one_longer_run(lm):
    facts = small_models.facts()
    whole = ng.edit(lm, facts[:4], **quick("memit"))
    end = weights(lm)
    ng.undo(whole)
    half = ng.edit(lm, facts[:2], pool=facts[:4], **quick("memit"))
    more = ng.edit(lm, facts[2:4], after=half)
    assert same(weights(lm), end)
    for name in ("norms", "scores"):
        pd.testing.assert_frame_equal(getattr(more, name), getattr(whole, name), check_exact=True)
    assert sorted(more.norms["step"].unique()) == [0, 2, 4] and list(more.edits["step"]) == [1, 2, 3, 4]
    assert repr(more).startswith("Edited(4 facts by memit, largest norm x")


def test_a_failed_edit_leaves_the_model_as_it_was(lm):
    first = ng.edit(lm, small_models.facts()[:1], "ft", **quick("ft"))
    between = weights(lm)
    with pytest.raises(EditError, match=r"case 1[12]"):
        second = ng.edit(lm, small_models.facts()[1:2], "ft", **quick("ft"))
        ng.edit(lm, small_models.facts()[1:3], "ft", **quick("ft", learning_rate=1e37))
    ng.undo(second)
    assert same(weights(lm), between)
    ng.undo(first)


def test_scores_are_those_of_the_measure(lm, tmp_path):
    facts = small_models.facts()
    write_json(tmp_path / "facts.json", small_models.records())
    for given in (facts, small_models.records(), tmp_path / "facts.json", str(tmp_path / "facts.json")):
        pd.testing.assert_frame_equal(ng.score(lm, given), score_facts(lm, facts), check_exact=True)


def test_three_fields_make_a_fact_and_what_is_missing_is_said_once(lm):
    with pytest.warns(UserWarning) as said:
        scores = ng.score(lm, PLAIN)
    (warning,) = said
    assert str(warning.message) == (
        "of 3 facts, 3 have no target_true (NaN: es, em, ps, pm and all of neighbours); 3 have no paraphrases (NaN: "
        "ps, pm and pa); 3 have no neighbours (NaN: ns, nm and na)"
    )
    assert warning.filename == __file__
    assert list(scores["case_id"]) == [0, 1, 2]
    assert set(scores.columns[scores.notna().all()]) == {"case_id", "ea"}
    assert scores.drop(columns=["case_id", "ea"]).isna().all(axis=None)
    with pytest.warns(UserWarning, match="of 3 facts, 3 have no target_true"):
        edited = ng.edit(lm, PLAIN, "ft", **quick("ft", learning_rate=5e-2))
    # Plain teacher forcing, by transformers alone.
    for fact, right in zip(edited.facts, score_facts(lm, [*edited.facts])["ea"], strict=True):
        prompt, whole = (
            lm.tokenizer(text)["input_ids"] for text in (fact.question, f"{fact.question} {fact.target_new}")
        )
        predicted = lm.model(torch.tensor([whole])).logits[0, :-1].argmax(dim=-1).tolist()
        assert right == float(predicted[len(prompt) - 1 :] == whole[len(prompt) :])
    assert edited.edits["immediate_efficacy"].isna().all()


def test_a_known_true_object_brings_scores_back(lm):
    known = [{**fact, "target_true": "Lisbon"} for fact in PLAIN]
    with pytest.warns(UserWarning, match="^of 3 facts, 3 have no paraphrases .*; 3 have no neighbours "):
        scores = ng.score(lm, known)
    assert scores[["es", "em", "ea"]].notna().all(axis=None)
    (other,) = small_models.facts()[:1]
    full = {
        "subject": other.subject, "prompt": other.question, "target": other.target_new, "case_id": other.case_id,
        "target_true": other.target_true, "paraphrases": other.paraphrases, "neighbours": list(other.neighbours),
        "relation": other.relation,
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pd.testing.assert_frame_equal(ng.score(lm, [full]), score_facts(lm, [other]), check_exact=True)


@pytest.mark.parametrize(
    ("prompt", "subject", "template"),
    [
        ("{} lives in", "Zé", "{} lives in"),
        ("The home of Zé is", " Zé ", "The home of {} is"),
        ("Zélia and Zé live in", "Zé", "Zélia and {} live in"),
        ("Zé and Zé live in", "Zé", "{} and Zé live in"),
        ("东京位于", "东京", "{}位于"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:of 1 facts")
def test_a_prompt_holds_a_slot_or_the_subject(prompt, subject, template):
    (fact,) = given_facts([{"subject": subject, "prompt": prompt, "target": "Oslo"}])
    assert (fact.prompt, fact.subject) == (template, subject.strip())


@pytest.mark.filterwarnings("ignore:of 1 facts")
def test_a_target_that_brings_its_blank_keeps_it():
    def joined(target):
        (fact,) = given_facts([{"subject": "东京", "prompt": "{}位于", "target": target}])
        return fact.prompt, fact.target_new

    assert joined("日本") == ("{}位于", "日本")
    assert joined(" 日本") == ("{}位于 ", "日本")


def test_records_of_zsre_are_read(lm):
    record = {
        "subject": "Tirel", "src": "Where was Tirel born?", "rephrase": "The home of Tirel?", "answers": ["Oslo"],
        "alt": "Rome", "loc": "nq question: x", "loc_ans": "y",
    }  # fmt: skip
    with pytest.warns(UserWarning, match="^of 1 facts, 1 have no neighbours"):
        scores = ng.score(lm, [record])
    assert scores[["es", "ps"]].notna().all(axis=None)
    with pytest.warns(UserWarning) as said:
        ng.score(lm, [record, {**record, "alt": "oslo"}])
    assert str(said[0].message) == (
        "facts: records of zsRE are left out (1: the alternative is among the true answers)"
    )
    assert {warning.filename for warning in said} == {__file__}


FACT = {"subject": "Zé", "prompt": "{} lives in", "target": "Oslo"}
NEEDED = r"a fact has the fields subject, prompt, target; target_true, .* may be left out"


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ([{"subject": "Zé", "prompt": "{} lives in"}], rf"^facts: record 0: field 'target' is missing: {NEEDED}"),
        ([FACT, {**FACT, "traget": "x"}], "record 1: field 'traget' is unknown: did you mean 'target'?"),
        ([{**FACT, "prompt": "Somebody lives in"}], "prompt 'Somebody lives in' holds neither {} nor the"),
        ([{**FACT, "prompt": "Zélia lives in"}], "nor the subject 'Zé' as words of their own: put {} where"),
        ([{**FACT, "prompt": "{} and {} live in"}], r"holds \{\} 2 times"),
        ([{**FACT, "target": " "}], "record 0: field 'target' is empty"),
        ([{**FACT, "target": 7}], "record 0: field 'target' is int, not str"),
        ([{**FACT, "target_true": "OSLO"}], "target and target_true are both 'Oslo': there is nothing to edit"),
        ([{**FACT, "paraphrases": "Zé is in"}], "field 'paraphrases' is str, not a list of prompts"),
        ([{**FACT, "neighbours": ["x", 3]}], "field 'neighbours' holds 3, not a prompt"),
        ([FACT, {**FACT, "case_id": 0}], "record 1: case_id 0 stands in record 0 already"),
        ([{**FACT, "case_id": "1"}], "field 'case_id' is str, not int"),
        ([], "^facts is an empty list: a fact has the fields"),
        (["Zé lives in Oslo"], "^facts: record 0 is str, not a dictionary"),
        (FACT, "^facts is a single one: put it into a list"),
        ("nowhere.json", r"nowhere\.json"),
    ],
)  # fmt: skip
def test_wrong_facts_are_named(facts, said):
    with pytest.raises(FactError, match=said):
        given_facts(facts)


def test_facts_of_two_kinds_are_refused():
    with pytest.raises(FactError, match="holds dictionaries beside Fact objects"):
        given_facts([small_models.facts()[0], FACT])


def test_a_fact_beyond_the_context_is_refused_before_any_edit(lm):
    before = weights(lm)
    long = {"subject": "Zé", "prompt": "It rained. " * 40 + "{} lives in", "target": "Oslo", "target_true": "Rome"}
    for call in (lambda: ng.edit(lm, [long]), lambda: ng.score(lm, [long])):
        with pytest.warns(UserWarning), pytest.raises(FactError, match=r"case 0: .* the model's context holds 64"):
            call()
    assert same(weights(lm), before)


@pytest.mark.parametrize(
    ("editor", "settings", "said"),
    [
        ("memmit", {}, "editor 'memmit' is unknown; did you mean 'memit'?"),
        ("memit", {"clamb": 1}, "memit: key 'clamb' is unknown; did you mean 'clamp'?"),
        ("memit", {"clamp": -1}, r"memit\.clamp is -1: should be greater than 0"),
        ("memit", {"layers": [1, 9]}, "memit: layer 9 does not exist: the model has layers 0 to 3: give its layers"),
        ("rome", {"layers": [1, 2]}, r"rome: layers \[1, 2\]: this editor changes one layer"),
        ("mend", {}, "mend needs a hypernetwork, .* name mend among the editors of a study"),
        ("malmen", {}, "malmen needs a hypernetwork"),
        ("norm_restored", {}, "norm_restored is a control arm, .* name norm_restored-memit among"),
    ],
)  # fmt: skip
def test_wrong_editors_and_settings_are_named(lm, editor, settings, said):
    with pytest.raises(StudyError, match=said):
        ng.edit(lm, small_models.facts(), editor, **settings)


def test_no_setting_of_an_editor_has_the_name_of_an_argument():
    arguments = set(inspect.signature(ng.edit).parameters) - {"settings"}
    for kind in SETTINGS:
        assert not arguments & set(declaration(kind).Settings.model_fields), kind


def test_going_on_with_a_fact_that_does_not_fit_leaves_the_model(lm):
    edited = ng.edit(lm, small_models.facts()[:1], "r_rome", **quick("r_rome"))
    there = weights(lm)
    few = [{"subject": "Zé", "prompt": "It rained. " * n + "{} lives in", "target": "Oslo"} for n in range(1, 40)]
    with pytest.warns(UserWarning), pytest.raises(FactError, match="the model's context holds 64"):
        ng.edit(lm, few, after=edited)
    assert same(weights(lm), there)


def test_going_on_takes_the_same_model_and_nothing_new(lm):
    facts = small_models.facts()
    edited = ng.edit(lm, facts[:1], "ft", **quick("ft"))
    with pytest.raises(StudyError, match="goes on by ft with its settings and resources: leave out editor, steps"):
        ng.edit(lm, facts[1:2], "ft", after=edited, steps=3)
    other = small_models.language_model_of("gpt2", seed=1)
    with pytest.raises(ModelError, match="after= holds the edits of another model"):
        ng.edit(other, facts[1:2], after=edited)
    with pytest.raises(ModelError, match="unedited= holds the edits of another model"):
        ng.compare(other, edited, "text.txt")
    with pytest.raises(ModelError, match=r"lm is GPT2LMHeadModel, not what normgrowth\.load gives"):
        ng.edit(other.model, facts[1:2])


def test_a_name_of_a_published_model_asks_for_its_preset(lm):
    lm.model.name_or_path = "gpt2-xl"
    with pytest.raises(StudyError, match="rome: layer 17 does not exist: the model has layers 0 to 3: give its layers"):
        ng.edit(lm, small_models.facts()[:1], "rome")
    assert ng.edit(lm, small_models.facts()[:1], "rome", layers=[1], steps=2).settings.weight_decay == 0.5


def test_a_model_beside_the_unedited_one(lm, text):
    architecture = "gpt2" if "GPT2" in type(lm.model).__name__ else "llama"
    unedited = small_models.language_model_of(architecture)
    facts = small_models.facts()[:3]
    edited = ng.edit(lm, facts, "r_rome", **quick("r_rome"))
    found = ng.compare(lm, edited, text, facts, tokens=640)
    by_model = ng.compare(lm, unedited, text, facts, tokens=640)
    for name in ("norms", "text", "activations"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(by_model, name), check_exact=True)
    last = edited.norms[edited.norms["step"] == 3].set_index("matrix")["frobenius_ratio"]
    assert found.norms.set_index("matrix")["frobenius_ratio"].to_dict() == last.to_dict()
    for row, one, other in zip(
        found.norms.itertuples(),
        (*lm.anatomy.down_projections, *lm.anatomy.attention_outputs),
        (*unedited.anatomy.down_projections, *unedited.anatomy.attention_outputs),
        strict=True,
    ):
        now, before = one.matrix.double(), other.matrix.double()
        assert row.frobenius_ratio == pytest.approx((now.norm() / before.norm()).item(), rel=1e-12)
        assert row.drift_frobenius == pytest.approx((now - before).norm().item(), rel=1e-6, abs=1e-12)
    metrics = found.text.set_index("metric")
    change = math.log(metrics["value"]["perplexity"] / metrics["unedited"]["perplexity"])
    assert metrics["value"]["log_perplexity_change"] == pytest.approx(change, abs=1e-9)
    assert set(found.activations["probe"]) == {"facts", "text"}
    below = found.activations[found.activations["layer"] == 0]
    assert below["cosine_to_unedited"].to_numpy() == pytest.approx(1, abs=1e-5)  # layer 1 is edited
    without = ng.compare(lm, edited, text)
    assert set(without.activations["probe"]) == {"text"}


def test_models_that_cannot_be_compared_are_refused(text):
    lm, other = (small_models.language_model_of(name) for name in small_models.ARCHITECTURES)
    with pytest.raises(ModelError, match="differ in the names or shapes of their matrices"):
        ng.compare(lm, other, text)
    with pytest.raises(ModelError, match="unedited is str: give what edit returned"):
        ng.compare(lm, "gpt2", text)
    with pytest.raises(ArtefactError, match=r"nowhere\.txt"):
        ng.compare(lm, small_models.language_model_of("gpt2"), "nowhere.txt")


def test_a_prompt_is_completed_as_transformers_does(lm):
    prompt = "The home of Tirel is"
    ids = lm.tokenizer(prompt, return_tensors="pt")["input_ids"]
    whole = lm.model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=5, do_sample=False, pad_token_id=0, eos_token_id=None
    )
    expected = lm.tokenizer.decode(whole[0], skip_special_tokens=True)
    assert prompt + ng.complete(lm, prompt, tokens=5) == expected


def test_models_are_loaded_from_folders_and_from_the_hub(tmp_path, monkeypatch):
    folder = small_models.save("gpt2", tmp_path / "published")
    assert ng.load(str(folder), threads=1).model.name_or_path == "published"
    for file in folder.glob("manifest*"):
        file.unlink()
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("normgrowth.sources.web.PAUSES", (0.01,))
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with serving() as web:
        monkeypatch.setenv("HF_ENDPOINT", web.address)
        web.serve_model("owner/gpt2-xl", folder)
        web.answers["/api/models/owner/gpt2-xl"] = web.answers[f"/api/models/owner/gpt2-xl/revision/{REVISION}"]
        newest = ng.load("owner/gpt2-xl", threads=1)
        pinned = ng.load("owner/gpt2-xl", REVISION, threads=1)
        with pytest.raises(ModelError, match="owner/nothing is not on"):
            ng.load("owner/nothing")
    assert newest.model.name_or_path == "owner/gpt2-xl"
    assert same(weights(newest), weights(load_model(folder))) and same(weights(newest), weights(pinned))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert same(weights(ng.load("owner/gpt2-xl", threads=1)), weights(newest))
    with pytest.raises(ModelError, match=r"HF_HUB_OFFLINE is set, and .* holds no commit of owner/nothing"):
        ng.load("owner/nothing")


@pytest.mark.parametrize(
    ("model", "revision", "said"),
    [
        ("no/such/folder", None, "no/such/folder is neither a model folder here nor a name on the Hub"),
        ("model.gguf", None, "model.gguf is a GGUF file: `normgrowth import-gguf"),
        (".", "main", "is a folder, and revision is for models of the Hub"),
        ("owner/name", "main", "revision 'main' of owner/name: a branch, a tag or a short hash"),
    ],
)  # fmt: skip
def test_models_that_are_none_are_named(model, revision, said):
    with pytest.raises(ModelError, match=said):
        ng.load(model, revision)


def test_results_are_read_when_asked_for(tmp_path):
    folder = tmp_path / "results" / planted.STUDY
    planted.write(folder / "tables", planted.tables(planted.Run()))
    results = ng.read_results(folder)
    pd.testing.assert_frame_equal(results.tables["norms"], read_table(folder / "tables/norms.parquet", "norms"))
    assert results.tables["norms"] is results.tables["norms"]
    assert "norms" in results.tables and "nroms" not in results.tables
    with pytest.raises(ArtefactError, match=r"table 'nroms' is unknown; did you mean 'norms'\?"):
        results.tables["nroms"]
    with pytest.raises(ArtefactError, match=r"claims\.json does not exist yet: `normgrowth status` says how far"):
        _ = results.claims
    write_json(folder / "claims.json", {"claims": [1]})
    write_json(folder / "provenance.json", {"study": {"seed": 3}})
    assert results.claims == {"claims": [1]} and results.config == {"seed": 3}
    (folder / "tables/edits.parquet").write_bytes(b"PAR1")
    with pytest.raises(ArtefactError, match=r"edits\.parquet is damaged"):
        results.tables["edits"]
    with pytest.raises(ArtefactError, match=f"folder of results .* is unknown; did you mean '.*{planted.STUDY}'"):
        ng.read_results(tmp_path / "results" / f"{planted.STUDY}x")
    (tmp_path / "results" / "begun").mkdir()
    with pytest.raises(ArtefactError, match="holds no tables yet"):
        ng.read_results(tmp_path / "results" / "begun").tables["norms"]


def test_no_name_of_the_library_is_a_room_and_all_are_there():
    rooms = {module.name for module in pkgutil.iter_modules(ng.__path__)}
    assert not rooms & set(ng.__all__)
    assert all(callable(getattr(ng, name)) for name in ng.__all__)
    assert set(ng.__all__) <= set(dir(ng))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = ng.nothing
