"""An edited model of a study, exported or asked side by side with the unedited one."""

import io
import json
import subprocess
import sys

import pytest
import torch
from transformers import AutoTokenizer

from normgrowth import cli
from normgrowth.facts.orders import edit_order
from normgrowth.facts.records import read_facts
from normgrowth.facts.streams import ONCE
from normgrowth.lm.generate import go_on
from normgrowth.lm.tokens import encode
from normgrowth.runs.edited_models import edited, run_until
from normgrowth.runs.state import restore
from normgrowth.sources.loading import load_model
from tests.support.commands import Workbench, compact
from tests.support.every_editor import settings_of

PROMPT = "The river runs through"
EDITS = {"memit": 4, "ft": 2}
"""Edits in a segment, by editor."""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with a study `s` of the model `m`: four edits by MEMIT in batches of two, four by FT in two segments."""
    folder = tmp_path_factory.mktemp("study")
    bench = Workbench(folder / "bench")
    (folder / "resources/models").mkdir(parents=True)
    (folder / "resources/models/m").symlink_to(bench.model)
    for kind, edits in EDITS.items():
        run = folder / "results/s/runs/m" / kind / "order-0"
        more = {"editor": kind, "settings": compact(settings_of(kind)), "editor-name": kind, "chain": run}
        if kind == "memit":
            more["statistics"] = bench.statistics()
        for segment in range(1, 4 // edits + 1):
            first = (segment - 1) * edits + 1
            assert bench.run("edit", **more, segment=segment, first=first, last=first + edits - 1) == 0
    (folder / "resources/facts").mkdir()
    (folder / "resources/facts/f.json").symlink_to(bench.facts)
    return folder


@pytest.fixture(autouse=True)
def in_study(study, monkeypatch):
    monkeypatch.chdir(study)


def asked(capsys, *words):
    """Exit code, output and errors of a command."""
    code = cli.main([str(word) for word in words])
    said = capsys.readouterr()
    return code, said.out, said.err


def logits_of(model, tokenizer) -> torch.Tensor:
    with torch.no_grad():
        return model(**tokenizer(PROMPT, return_tensors="pt")).logits


@pytest.mark.parametrize("kind", EDITS)
def test_an_exported_model_has_the_same_logits_in_a_fresh_process(study, kind, tmp_path, capsys):
    folder = tmp_path / "new/exported"
    code, out, _ = asked(capsys, "export", "s", "m", kind, "--to", folder)
    assert code == 0 and f"{folder}: m after 4 edits by {kind}" in out
    script = (
        "import torch; from transformers import AutoModelForCausalLM as M, AutoTokenizer as T\n"
        f"asked = T.from_pretrained({str(folder)!r})({PROMPT!r}, return_tensors='pt')\n"
        f"torch.save(M.from_pretrained({str(folder)!r})(**asked).logits.detach(), {str(tmp_path / 'logits')!r})"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, cwd=tmp_path)
    lm = load_model("resources/models/m")
    unedited = logits_of(lm.model, lm.tokenizer)
    restore(lm, study / "results/s/runs/m" / kind / "order-0", 4 // EDITS[kind], {})
    edited_ = logits_of(lm.model, lm.tokenizer)
    torch.testing.assert_close(torch.load(tmp_path / "logits"), edited_, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(unedited, edited_, rtol=1e-3, atol=1e-3)


def test_the_card_and_the_list_of_edits_say_what_was_edited(tmp_path, capsys):
    assert asked(capsys, "export", "s", "m", "memit", "--after", 2, "--to", tmp_path / "e")[0] == 0
    order = edit_order(read_facts("resources/facts/f.json"), 0, 0, False, 0, None, ONCE)[:2]
    edits = json.loads((tmp_path / "e/edits.json").read_text())
    assert [edit["step"] for edit in edits] == [1, 2]
    for edit, fact in zip(edits, order, strict=True):
        assert edit["subject"] == fact.subject and edit["target_new"] == fact.target_new
    card = (tmp_path / "e/README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n") and "# m after 2 edits by memit" in card
    for fact in order:
        assert f"| {fact.question} | {fact.target_new} | {fact.target_true} |" in card
    assert "batch 2" in card and "learning_rate" not in card  # settings left out are not said


def test_an_export_without_the_facts_has_their_numbers(study, tmp_path, capsys, monkeypatch):
    (tmp_path / "resources").mkdir()
    (tmp_path / "resources/models").symlink_to(study / "resources/models")
    (tmp_path / "results").symlink_to(study / "results")
    monkeypatch.chdir(tmp_path)
    assert asked(capsys, "export", "s", "m", "memit", "--to", "e")[0] == 0
    edits = json.loads((tmp_path / "e/edits.json").read_text())
    assert len(edits) == 4 and set(edits[0]) == {"step", "case_id"}
    assert "not at hand" in (tmp_path / "e/README.md").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["t", "m", "memit"], "there is no study t in results: known are s"),
        (["s", "n", "memit"], "there is no model n in results/s/runs: known are m"),
        (["s", "m", "rome"], "there is no editor rome in results/s/runs/m: known are ft, memit"),
        (
            ["s", "m", "memit", "--order", "1"],
            "there is no edit order order-1 in results/s/runs/m/memit: known are order-0",
        ),
        (
            ["s", "m", "memit", "--after", "3"],
            "the model after 3 edits by memit is not kept; kept are those after 2, 4",
        ),
        (["s", "m", "ft", "--after", "1"], "the model after 1 edits by ft is not kept; kept are those after 2, 4"),
    ],
)
def test_what_is_not_there_is_named_beside_what_is(words, said, tmp_path, capsys):
    code, _, errors = asked(capsys, "export", *words, "--to", tmp_path / "e")
    assert code == 1 and said in errors and not (tmp_path / "e").exists()


def test_a_folder_that_exists_is_not_overwritten(tmp_path, capsys):
    code, _, errors = asked(capsys, "export", "s", "m", "memit", "--to", tmp_path)
    assert code == 2 and "exists: name a new folder" in errors and not [*tmp_path.iterdir()]


def test_a_model_that_has_changed_since_is_refused(study, tmp_path, capsys, monkeypatch):
    other = Workbench(tmp_path / "bench", "llama")
    (tmp_path / "resources/models").mkdir(parents=True)
    (tmp_path / "resources/models/m").symlink_to(other.model)
    (tmp_path / "results").symlink_to(study / "results")
    monkeypatch.chdir(tmp_path)
    code, _, errors = asked(capsys, "export", "s", "m", "memit", "--to", tmp_path / "e")
    assert code == 1 and "model_revision" in errors and not (tmp_path / "e").exists()


def greedy(lm) -> str:
    ids = [*encode(lm.tokenizer, PROMPT).ids]
    (added,) = go_on(lm, [ids], 5)
    return " ".join(lm.tokenizer.decode(added).split())


def test_prompts_are_continued_by_both_models(study, capsys):
    lm = load_model("resources/models/m")
    before = greedy(lm)
    with edited(lm, run_until("s", "m", "memit", 0, 2)):
        after = greedy(lm)
    words = ["complete", "s", "m", "memit", "--after", 2, "--tokens", 5, "--prompt", PROMPT]
    code, out, _ = asked(capsys, *words)
    assert code == 0 and before != after
    first, second, third = out.splitlines()
    assert first == PROMPT
    assert second.split(maxsplit=1) == ["unedited", before]
    assert third.startswith("  after 2 edits by memit  ") and third.endswith(after)


def test_prompts_may_come_line_by_line(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PROMPT}\n\nA second one\n"))
    code, out, errors = asked(capsys, "complete", "s", "m", "ft", "--tokens", 3)
    assert code == 0 and out.splitlines()[0] == PROMPT and out.splitlines()[3] == "A second one"
    assert "One of the edits: " in errors


def test_edits_of_a_stream_have_the_objects_that_they_wrote(study, tmp_path, monkeypatch):
    bench = Workbench(tmp_path / "bench")
    run = tmp_path / "results/s/runs/m/ft/order-0"
    stream = json.dumps({"repeats": 0.4, "put_back": 0.2, "gap": 1})
    assert bench.run("edit", **{"editor-name": "ft"}, chain=run, last=6, stream=stream) == 0
    (tmp_path / "resources/facts").mkdir(parents=True)
    (tmp_path / "resources/facts/f.json").symlink_to(bench.facts)
    monkeypatch.chdir(tmp_path)
    chosen = run_until("s", "m", "ft", 0, None)
    facts, noted = chosen.facts(), chosen.edits()
    assert [fact.target_new for fact in facts] == noted["target_new"].tolist()
    again = [fact for fact in facts if fact.former]
    assert again and all(fact.former != fact.target_new for fact in again)


def test_exported_tokenizers_read_as_before(tmp_path, capsys):
    assert asked(capsys, "export", "s", "m", "memit", "--to", tmp_path / "e")[0] == 0
    lm = load_model("resources/models/m")
    assert AutoTokenizer.from_pretrained(tmp_path / "e")(PROMPT)["input_ids"] == lm.tokenizer(PROMPT)["input_ids"]
