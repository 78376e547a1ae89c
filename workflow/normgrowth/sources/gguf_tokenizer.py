"""Tokenizer of a GGUF file, with the ids that ggml's own reading of the file gives.

A GGUF file holds a vocabulary, and names the rules by which texts are split before it is applied
(`tokenizer.ggml.pre`). transformers knows some of these rules and reads all other byte-level vocabularies by GPT-2's.
What it leaves out follows llama.cpp (src/llama-vocab.cpp) here: digits that stand alone, whole words that are tokens
whatever the merges say, the token before texts, and the blank before SentencePiece's. Rules that neither knows are
refused, since every number of an edited model depends on its ids.
"""

from pathlib import Path
from typing import Any

from tokenizers import normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from normgrowth.errors import ModelError
from normgrowth.sources.gguf_header import Header

BYTE_LEVEL, SENTENCEPIECE = "gpt2", "llama"
"""Kinds of vocabularies, by ggml's names."""

AS_GPT2 = frozenset(
    {
        *("gpt-2", "phi-2", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de", "gigachat", "a.x-4.0", "mellum"),
        *("modern-bert", "exaone4", "mpt", "olmo", "jais", "trillion", "granite-docling"),
    }
)
"""Rules that are GPT-2's."""

DIGITS_ALONE = frozenset({"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"})
"""Rules that are GPT-2's once every digit stands alone."""

WHOLE_WORDS = frozenset(
    {
        *("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"),
        "tekken",
    }
)
"""Rules under which a word that is a token is that token, and texts begin with the beginning's token by default."""

BLANK = "▁"
"""Sign of a blank in SentencePiece's vocabularies."""

SAMPLES = (
    "The home of Vela Marun is New Delhi.",
    "In 1999,  12 345.67 of 1000000\n 2010 years later",
    " It isn't (very) far-fetched: x  = y**2  # 3\n\n\tdef f():",
    "café naïve Ámbar Ñuble 你好世界 русский ½ ² 🙂",
    "   ",
    "",
)
"""Texts that a tokenizer must read alike before it is saved and after."""


def read_tokenizer(folder: Path, name: str, header: Header) -> PreTrainedTokenizerBase:
    """The tokenizer of a GGUF file.

    Args:
        folder: folder that holds nothing but the file.
        name: the file's name.
        header: header of the file.

    Raises:
        ModelError: when the ids of texts would not be those of the file.
    """
    tokenizer: Any = AutoTokenizer.from_pretrained(
        str(folder), gguf_file=name, local_files_only=True, trust_remote_code=False
    )
    kind, rules = (header.fields.get(f"tokenizer.ggml.{key}") for key in ("model", "pre"))
    backend = tokenizer.backend_tokenizer
    if kind == BYTE_LEVEL:
        if rules in DIGITS_ALONE:
            backend.pre_tokenizer = pre_tokenizers.Sequence(
                [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
            )
        elif rules not in AS_GPT2 and isinstance(backend.pre_tokenizer, pre_tokenizers.ByteLevel):
            raise ModelError(
                f"its texts are split by rules called {rules!r} (tokenizer.ggml.pre), which transformers does not know "
                "and would take for GPT-2's: give the model as transformers saves it (kind: local)"
            )
        if rules in WHOLE_WORDS:
            backend.model.ignore_merges = True
    if kind == SENTENCEPIECE:
        before = [normalizers.Prepend(BLANK)] if header.fields.get("tokenizer.ggml.add_space_prefix", True) else []
        backend.normalizer = normalizers.Sequence([*before, normalizers.Replace(" ", BLANK)])
        backend.pre_tokenizer = None
    begins = _begins(header)
    if tokenizer.add_bos_token != begins:
        tokenizer.add_bos_token = begins
    ids, first = tokenizer("a")["input_ids"], header.fields.get("tokenizer.ggml.bos_token_id")
    if (ids[:1] == [first]) != begins:
        raise ModelError(
            f"its texts should {'' if begins else 'not '}begin with token {first} (tokenizer.ggml.bos_token_id), and "
            f"transformers reads 'a' as {ids}: give the model as transformers saves it (kind: local)"
        )
    return tokenizer


def require_same(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Refuse a tokenizer that reads texts differently once it is saved in a folder and loaded again.

    Raises:
        ModelError: naming the first text.
    """
    again: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    for text in SAMPLES:
        before, after = tokenizer(text)["input_ids"], again(text)["input_ids"]
        if before != after:
            raise ModelError(
                f"its tokenizer cannot be saved: it reads {text!r} as {before}, and loaded again as {after}; give the "
                "model as transformers saves it (kind: local)"
            )


def _begins(header: Header) -> bool:
    """True where texts begin with the beginning's token: as the file says, or else as ggml's default is."""
    stated = header.fields.get("tokenizer.ggml.add_bos_token")
    if isinstance(stated, bool):
        return stated
    return (
        header.fields.get("tokenizer.ggml.model") == SENTENCEPIECE
        or header.fields.get("tokenizer.ggml.pre") in WHOLE_WORDS
    )
