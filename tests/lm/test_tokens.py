"""Subject and target positions, for tokenizers with and without a start token, and for real ones when at hand."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from normgrowth.errors import FactError
from normgrowth.facts.records import read_facts
from normgrowth.lm.tokens import encode, encode_with_target, fill, last_token_of
from tests.support import small_models

SHARED = Path(__file__).resolve().parents[3] / "shared"


def real_tokenizer(name):
    folder = SHARED / "data/tokenizers" / name
    if name == "neox":
        return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    bpe = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=bpe)


def check(tokenizer, fact, contexts=("{}", "It rained. {}")):
    for context in contexts:
        text, span = fill(context, fact.question, fact.subject_span)
        assert text[slice(*span)] == fact.subject
        encoded = encode(tokenizer, text)
        position = last_token_of(encoded, span)
        piece = tokenizer.decode([encoded.ids[position]]).strip()
        # A character split over tokens decodes to a replacement mark on its own.
        assert fact.subject.endswith(piece) or "\ufffd" in piece
        for target in (fact.target_new, fact.target_true):
            ids, first = encode_with_target(tokenizer, text, target)
            assert ids[:first] == encoded.ids[:first]
            assert tokenizer.decode(ids[first:]).strip() == target


@pytest.mark.parametrize("architecture", small_models.ARCHITECTURES)
def test_positions_on_small_tokenizers(architecture):
    tokenizer = small_models.tokenizer(architecture)
    for fact in small_models.facts():
        check(tokenizer, fact)
    starts = encode(tokenizer, "Tirel").ids[0] == tokenizer.bos_token_id
    assert starts == (architecture == "llama")


@pytest.mark.skipif(not SHARED.is_dir(), reason="real tokenizers are not at hand")
@pytest.mark.parametrize("name", ["gpt2", "neox"])
def test_positions_on_real_tokenizers(name):
    tokenizer = real_tokenizer(name)
    for fact in read_facts(SHARED / "models/cf-gpt2-7m/records.json")[:200]:
        check(tokenizer, fact)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.text(alphabet="abz é", min_size=1, max_size=12).map(str.strip).filter(bool))
def test_any_target_decodes_to_itself(target):
    tokenizer = small_models.tokenizer("llama")
    ids, first = encode_with_target(tokenizer, "Tirel was born in", target)
    assert tokenizer.decode(ids[first:], clean_up_tokenization_spaces=False).strip() == target


def test_a_target_that_is_nothing_is_refused():
    with pytest.raises(FactError, match="has no tokens of its own"):
        encode_with_target(small_models.tokenizer("gpt2"), "Tirel was born in", "")
