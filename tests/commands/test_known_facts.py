"""Facts that a model knows: those that it completes token by token. A small model is taught some of them."""

import json

import pytest
import torch

from benchmarks import plain
from normgrowth.cli import main
from normgrowth.facts.orthography import joined
from normgrowth.facts.records import read_facts
from normgrowth.io.documents import write_json
from normgrowth.sources.loading import load_model
from normgrowth.sources.manifest import write_manifest
from tests.support import small_models

TAUGHT = 3
"""Facts, from the first on, that the model is taught."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the model and the facts."""
    folder = tmp_path_factory.mktemp("known")
    write_json(folder / "facts.json", small_models.records())
    taught(folder / "model", [joined(f.question, f.target_true) for f in small_models.facts()[:TAUGHT]])
    return folder


def taught(folder, texts):
    """Save a small model that has seen these texts until it can tell them."""
    model, tokenizer = small_models.model_of("gpt2"), small_models.tokenizer("gpt2")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(40):
        optimizer.zero_grad()
        for text in texts:
            ids = tokenizer(text, return_tensors="pt")["input_ids"]
            model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_manifest(folder, {"kind": "test"})


def find(folder, out, *more):
    given = ["--model", str(folder / "model"), "--facts", str(folder / "facts.json"), "--out", str(out)]
    return main(["known-facts", *given, *more])


def test_facts_are_kept_as_they_are_where_every_token_of_the_true_object_comes_first(folder, tmp_path):
    assert find(folder, tmp_path / "known.json") == 0
    lm, facts = load_model(folder / "model"), read_facts(folder / "facts.json")
    known = [plain.loss_of(lm, fact.question, fact.target_true)[1] for fact in facts]
    assert all(known[:TAUGHT]) and not all(known)
    wanted = [record for record, is_known in zip(small_models.records(), known, strict=True) if is_known]
    assert json.loads((tmp_path / "known.json").read_text()) == wanted
    assert find(folder, tmp_path / "again.json") == 0
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "known.json").read_bytes()


def test_too_few_known_facts_are_an_error_that_counts_them(folder, tmp_path, capsys):
    assert find(folder, tmp_path / "known.json", "--needed", "6", "--reserved", "1") == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and not (tmp_path / "known.json").exists()
    assert f"model knows 3 of the 6 facts of {folder / 'facts.json'}; 2 can be edited, 1 reserved ones apart" in said
    assert "and the study needs 6: lower edits, single_edits, block or reserved, give more facts" in said
    write_json(tmp_path / "facts.json", [r | {"case_id": i} for i, r in enumerate(2 * small_models.records())])
    given = ["--model", str(folder / "model"), "--facts", str(tmp_path / "facts.json"), "--needed", "4"]
    assert main(["known-facts", *given, "--out", str(tmp_path / "known.json")]) == 0
    assert main(["known-facts", *given, "--unique-subjects", "--out", str(tmp_path / "known.json")]) == 1
    assert "model knows 6 of the 12 facts" in (said := capsys.readouterr().err)
    assert "; 3 with distinct subjects can be edited, and the study needs 4" in said
    assert main(["known-facts", *given, "--stream", '{"put_back": 0.2}', "--out", str(tmp_path / "known.json")]) == 1
    assert "; 3 can be edited, and the study needs 4" in capsys.readouterr().err  # facts, each told twice


def test_a_model_that_knows_none_of_the_facts_is_an_error(folder, tmp_path, capsys):
    write_json(tmp_path / "facts.json", small_models.records()[TAUGHT:])
    given = ["--model", str(folder / "model"), "--facts", str(tmp_path / "facts.json")]
    assert main(["known-facts", *given, "--out", str(tmp_path / "known.json")]) == 1
    said = capsys.readouterr().err
    assert f"model knows none of the 3 facts of {tmp_path / 'facts.json'}: give more facts or" in said


def test_a_prompt_that_does_not_fit_is_named(folder, tmp_path, capsys):
    records = small_models.records()
    records[4]["requested_rewrite"]["prompt"] = "It rained. " * 60 + "{} is in"
    write_json(tmp_path / "facts.json", records)
    given = ["--model", str(folder / "model"), "--facts", str(tmp_path / "facts.json")]
    assert main(["known-facts", *given, "--out", str(tmp_path / "known.json")]) == 1
    assert "case 14: 'It rained. It rained." in capsys.readouterr().err
