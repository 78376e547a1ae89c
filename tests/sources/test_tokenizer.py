"""Tokenizers that do not quite go with their model: they work rightly, or are refused in one line."""

import json

import pytest
import torch

from normgrowth.cli import main
from normgrowth.errors import ModelError
from normgrowth.lm.context_templates import sample_contexts
from normgrowth.lm.generate import go_on
from normgrowth.lm.tokens import encode, pad_id
from normgrowth.sources.loading import load_model
from normgrowth.sources.text import windows
from tests.support import small_models
from tests.support.checkpoints import add_token, configure, saved

TEXT = "Vela Marun was born in Oslo."


@pytest.fixture(params=small_models.ARCHITECTURES)
def architecture(request):
    return request.param


@pytest.fixture
def folder(architecture, tmp_path):
    return saved(architecture, tmp_path / "model")


def brought_in(folder):
    """The model, imported and loaded."""
    out = folder.parent / "imported"
    assert main(["import-model", "--path", str(folder), "--out", str(out)]) == 0
    return load_model(out)


def refused(folder, capsys, *said):
    assert main(["import-model", "--path", str(folder), "--out", str(folder.parent / "imported")]) == 1
    printed = capsys.readouterr().err.strip()
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    assert "\n" not in printed
    assert all(words in printed and words in str(caught.value) for words in said)


def same_as_usual(lm, architecture, tmp_path):
    """Assert that texts, windows, contexts and generations are those of the model with its own tokenizer."""
    usual = small_models.language_model_of(architecture)
    assert encode(lm.tokenizer, TEXT) == encode(usual.tokenizer, TEXT)
    path = tmp_path / "text.txt"
    path.write_text(small_models.text())
    window, expected = (windows(path, model.tokenizer, 16, 4, 0, "a test") for model in (lm, usual))
    assert window.shape == expected.shape and int(window.max()) < lm.model.config.vocab_size
    prompts = [encode(usual.tokenizer, text).ids for text in (TEXT, "Oslo", "The home of")]
    assert go_on(lm, prompts, 5) == go_on(usual, prompts, 5)
    ids, mask = lm.pad([(1, 2, 3), (4,)])
    other, _ = usual.pad([(1, 2, 3), (4,)])
    kept = mask.bool()
    assert torch.equal(lm.hidden(ids, mask)[kept], usual.hidden(other, mask)[kept])
    return usual


def test_a_padding_token_beyond_the_embedding_is_not_used(architecture, folder, tmp_path):
    add_token(folder, "[PAD]", True, pad_token="[PAD]")
    assert json.loads((folder / "tokenizer_config.json").read_text())["pad_token"] == "[PAD]"
    rows = len(small_models.tokenizer(architecture))
    configure(folder, pad_token_id=rows)
    lm = brought_in(folder)
    assert 0 <= pad_id(lm.tokenizer) < rows
    usual = same_as_usual(lm, architecture, tmp_path)
    assert sample_contexts(lm, 0, 2) == sample_contexts(usual, 0, 2)


@pytest.mark.parametrize("tokens", [["<|im_start|>"], [f"<|extra_{i}|>" for i in range(40)]])
def test_special_tokens_beyond_the_embedding_are_not_made_out(architecture, folder, tokens, tmp_path):
    for token in tokens:
        add_token(folder, token, True)
    lm = brought_in(folder)
    same_as_usual(lm, architecture, tmp_path)
    rows = lm.model.config.vocab_size
    told = f"{TEXT} {tokens[-1]} {TEXT}"
    assert max(encode(lm.tokenizer, told).ids) < rows
    assert lm.tokenizer.decode(encode(lm.tokenizer, told).ids, skip_special_tokens=True) == told


def test_words_beyond_the_embedding_are_refused(architecture, folder, capsys):
    add_token(folder, "Marun", False)
    rows = len(small_models.tokenizer(architecture))
    refused(folder, capsys, f"makes ids up to {rows} ('Marun')", f"the model's embedding has {rows} rows")


@pytest.mark.parametrize("part", ["bos_token", "eos_token", "unk_token"])
def test_a_token_beyond_the_embedding_that_is_used_is_refused(architecture, folder, part, capsys):
    add_token(folder, "<new>", True, **{part: "<new>"})
    rows = len(small_models.tokenizer(architecture))
    refused(folder, capsys, f"makes ids up to {rows} ('<new>')", f"the model's embedding has {rows} rows")


def test_another_models_tokenizer_is_refused(tmp_path, capsys):
    folder = saved("gpt2", tmp_path / "model")
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["vocab"] = {token: id_ * 7 for token, id_ in tokenizer["model"]["vocab"].items()}
    tokenizer["added_tokens"] = []
    path.write_text(json.dumps(tokenizer))
    refused(folder, capsys, "makes ids up to ", "the model's embedding has 336 rows")


@pytest.mark.parametrize(
    "ends",
    [
        {"bos_token": None},
        {"eos_token": None},
        {"bos_token": None, "eos_token": None},
        {"bos_token": None, "eos_token": None, "pad_token": None, "unk_token": None},
    ],
)
def test_begin_and_end_are_found_where_the_tokenizer_does_not_name_them(architecture, folder, ends, tmp_path):
    configure(folder, "tokenizer_config.json", **ends)
    configure(folder, bos_token_id=0, eos_token_id=[0])
    lm = brought_in(folder)
    usual = same_as_usual(lm, architecture, tmp_path)
    assert sample_contexts(lm, 0, 2) == sample_contexts(usual, 0, 2)


def test_windows_begin_as_texts_do_where_the_tokenizer_does_not_name_how(tmp_path):
    folder = saved("llama", tmp_path / "model")
    configure(folder, "tokenizer_config.json", bos_token=None, eos_token=None)
    configure(folder, bos_token_id=None, eos_token_id=None)
    lm = brought_in(folder)
    path = tmp_path / "text.txt"
    path.write_text(small_models.text())
    assert set(windows(path, lm.tokenizer, 16, 4, 0, "a test")[:, 0].tolist()) == {0}


def test_neither_begin_nor_end_is_refused(tmp_path, capsys):
    folder = saved("gpt2", tmp_path / "model")
    configure(folder, "tokenizer_config.json", bos_token=None, eos_token=None, unk_token=None)
    configure(folder, bos_token_id=None, eos_token_id=None)
    refused(folder, capsys, "which token texts begin or end with", "name one as bos_token in tokenizer_config.json")


def test_a_slow_tokenizer_is_refused(folder, capsys):
    configure(folder, "tokenizer_config.json", tokenizer_class="ByT5Tokenizer")
    refused(folder, capsys, "ByT5Tokenizer, gives no character offsets")
