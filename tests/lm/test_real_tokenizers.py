"""Subjects and targets of CounterFact facts in real tokenizers, where these are at hand.

Byte-level BPE (GPT-2, GPT-J, NeoX) and SentencePiece (Llama 2), with a start token and an end token or without, with a
blank put before the first word or not, with offsets that cover a word's blank or not.
"""

import json
import struct
from functools import cache
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaTokenizer, PreTrainedTokenizerFast
from transformers.tokenization_utils_base import generate_merges

from normgrowth.facts.records import read_facts
from normgrowth.lm.tokens import encode, encode_with_target, fill, last_token_of

SHARED = Path(__file__).resolve().parents[3] / "shared/data"
N_FACTS = 500
CONTEXTS = ("{}", "It rained. {}", "Café ’22:\n{}")
BREAK = "<|endoftext|>"

needs_shared = pytest.mark.skipif(not (SHARED / "tokenizers").is_dir(), reason="real tokenizers are not at hand")


@cache
def facts():
    records = json.loads((SHARED / "counterfact/counterfact_reconstructed.json").read_text())
    every = len(records) // N_FACTS
    return records[::every][:N_FACTS]


@pytest.fixture
def counterfact(tmp_path):
    (tmp_path / "facts.json").write_text(json.dumps(facts()))
    return read_facts(tmp_path / "facts.json")


def byte_level(name: str, prefix_space: bool, special: bool, trim: bool) -> PreTrainedTokenizerFast:
    """GPT-2's kind of tokenizer from its vocabulary; `special` adds a start and an end token."""
    folder = SHARED / "tokenizers" / name
    if (folder / "tokenizer.json").exists():
        bpe = Tokenizer.from_file(str(folder / "tokenizer.json"))
    else:
        # GPT-J's file as found lacks its outer braces.
        vocabulary = json.loads("{" + (folder / "vocab.json").read_text().strip().strip("{}") + "}")
        lines = (folder / "merges.txt").read_text().splitlines()
        merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
        bpe = Tokenizer(models.BPE(vocabulary, merges))
        bpe.add_special_tokens([AddedToken(BREAK, special=True)])
        bpe.decoder = decoders.ByteLevel()
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    steps = [processors.ByteLevel(add_prefix_space=prefix_space, trim_offsets=trim)]
    if special:
        number = bpe.token_to_id(BREAK)
        steps.append(processors.TemplateProcessing(single=f"{BREAK} $A {BREAK}", special_tokens=[(BREAK, number)]))
    bpe.post_processor = processors.Sequence(steps)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=BREAK, eos_token=BREAK)


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of a protocol buffer, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def fields(data: bytes):
    """Numbers and contents of a protocol buffer's fields."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        if tag & 7 == 0:
            value, at = varint(data, at)
        else:
            length, at = varint(data, at) if tag & 7 == 2 else ({1: 8, 5: 4}[tag & 7], at)
            value, at = data[at : at + length], at + length
        yield tag >> 3, value


@cache
def pieces() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of the SentencePiece model, whose own reader is no dependency."""
    model = (SHARED / "tokenizers/llama2/tokenizer.model").read_bytes()
    found = [dict(fields(value)) for number, value in fields(model) if number == 1]
    vocabulary = {piece[1].decode(): i for i, piece in enumerate(found)}
    scores = {piece[1].decode(): struct.unpack("<f", piece[2])[0] for piece in found}
    return vocabulary, generate_merges(vocabulary, scores)


def llama(prefix_space: bool, special: bool) -> LlamaTokenizer:
    """Llama 2's tokenizer; `special` adds an end token to the start token that it always has."""
    vocabulary, merges = pieces()
    return LlamaTokenizer(
        vocab=vocabulary, merges=merges, add_prefix_space=prefix_space, add_bos_token=True, add_eos_token=special
    )


BYTE_LEVEL = ("gpt2", "gptj", "neox")


def tokenizer_of(name: str, prefix_space: bool, special: bool, trim: bool = False):
    if name == "llama2":
        return llama(prefix_space, special)
    return byte_level(name, prefix_space, special, trim)


def check(tokenizer, fact, context) -> None:
    text, span = fill(context, fact.question, fact.subject_span)
    encoded = encode(tokenizer, text)
    position = last_token_of(encoded, span)
    # The subject's last piece ends where the subject does, and nothing of the subject comes after it.
    assert encoded.spans[position][1] == span[1]
    assert all(start >= span[1] or start == end for start, end in encoded.spans[position + 1 :])
    piece = tokenizer.decode([encoded.ids[position]]).strip()
    # A character split over tokens decodes to a replacement mark on its own.
    assert piece and (fact.subject.endswith(piece) or "\ufffd" in piece)
    assert tokenizer.decode(encoded.ids[: position + 1], skip_special_tokens=True).rstrip().endswith(fact.subject)
    for target in (fact.target_new, fact.target_true):
        ids, first = encode_with_target(tokenizer, text, target)
        assert ids[:first] == encoded.ids[:first]
        assert tokenizer.decode(ids[first:]).strip() == target


@needs_shared
@pytest.mark.parametrize("special", [False, True], ids=["plain", "special"])
@pytest.mark.parametrize("prefix_space", [False, True], ids=["no_blank", "blank_first"])
@pytest.mark.parametrize("name", [*BYTE_LEVEL, "llama2"])
def test_subjects_and_targets_of_counterfact(counterfact, name, prefix_space, special):
    tokenizer = tokenizer_of(name, prefix_space, special, trim=special)
    assert len(counterfact) == N_FACTS
    for number, fact in enumerate(counterfact):
        check(tokenizer, fact, CONTEXTS[number % len(CONTEXTS)])


@needs_shared
@pytest.mark.parametrize("name", [*BYTE_LEVEL, "llama2"])
def test_special_tokens_are_kept_in_front_and_dropped_behind(name):
    tokenizer = tokenizer_of(name, prefix_space=True, special=True)
    whole = tokenizer("Paris is in")["input_ids"]
    assert whole[-1] == tokenizer.eos_token_id
    encoded = encode(tokenizer, "Paris is in")
    assert list(encoded.ids) == whole[:-1]
    assert encoded.ids[0] == tokenizer.bos_token_id
    assert last_token_of(encoded, (0, 5)) == 1
