"""Small GGUF files of Llama's architecture, written tensor by tensor, and the meaning of their bytes in float64."""

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import regex
from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter, quants
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tests.support.small_models import BREAK, SENTENCES

LAYERS, WIDTH, KEYS, HEADS, KV_HEADS, CONTEXT = 2, 64, 96, 4, 2, 64
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
"""Types of tokens in the format."""

BLANK = "▁"
"""Sign of a blank in SentencePiece's vocabularies."""

TEXT = (*SENTENCES, "In 1999,  12 345 of 1000\n  2010  x  = y\n\n\tand   so   on", "It isn't  café naïve  ½ 你好 🙂")
GPT2 = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")

LAST = 10**9
"""Rank of a pair that is no merge."""

UNMERGED = "zqzq"
"""Token that no merges lead to."""

PLACES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
"""Names of a block's tensors in GGUF files, by transformers' names."""


@cache
def vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Tokens with their ids, and merges, of a small byte-level vocabulary that has tokens of several blanks."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        TEXT * 3,
        trainers.BpeTrainer(vocab_size=420, special_tokens=[BREAK], initial_alphabet=alphabet, show_progress=False),
    )
    stated = json.loads(bpe.to_str())["model"]
    return stated["vocab"] | {UNMERGED: len(stated["vocab"])}, [tuple(pair) for pair in stated["merges"]]


def ids(text: str, digits_alone: bool = False, whole_words: bool = False) -> list[int]:
    """Ids of a text in the small vocabulary, by byte-pair encoding written out."""
    tokens, merges = vocabulary()
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    spelling = _spelling_of_bytes()
    found = []
    for piece in regex.findall(r"\p{N}|\P{N}+", text) if digits_alone else [text]:
        for word in GPT2.findall(piece):
            parts = [spelling[byte] for byte in word.encode()]
            if whole_words and "".join(parts) in tokens:
                found.append(tokens["".join(parts)])
                continue
            while len(parts) > 1:
                rank, at = min((ranks.get(pair, LAST), i) for i, pair in enumerate(pairwise(parts)))
                if rank == LAST:
                    break
                parts[at : at + 2] = ["".join(parts[at : at + 2])]
            found += [tokens[part] for part in parts]
    return found


@cache
def pieces() -> dict[str, float]:
    """Tokens of a small SentencePiece vocabulary in the order of their ids, with scores; earlier merges score more."""
    bpe = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=240, show_progress=False)
    bpe.train_from_iterator([text.replace(" ", BLANK) for text in SENTENCES], trainer)
    stated = json.loads(bpe.to_str())["model"]
    merged = {"".join(pair): -float(rank) for rank, pair in enumerate(stated["merges"])}
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    letters = [token for token in stated["vocab"] if len(token) == 1]
    return dict.fromkeys(special, 0.0) | merged | dict.fromkeys(letters, -1000.0)


def ids_of_pieces(text: str, blank: bool) -> list[int]:
    """Ids of a text in the small SentencePiece vocabulary: the best adjacent pair is joined until none is a token."""
    scores = pieces()
    numbers = {token: number for number, token in enumerate(scores)}
    parts = list((BLANK * blank + text).replace(" ", BLANK))
    while True:
        pairs = [(-scores[a + b], i) for i, (a, b) in enumerate(pairwise(parts)) if a + b in scores]
        if not pairs:
            break
        _, at = min(pairs)
        parts[at : at + 2] = ["".join(parts[at : at + 2])]
    bytes_of = lambda part: [numbers[f"<0x{byte:02X}>"] for byte in part.encode()]  # noqa: E731
    return [number for part in parts for number in ([numbers[part]] if part in numbers else bytes_of(part))]


def _spelling_of_bytes() -> dict[int, str]:
    """Characters that stand for bytes: printable ones for themselves, others from 256 on in their order."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = (byte for byte in range(256) if byte not in plain)
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + i) for i, byte in enumerate(others)}


@dataclass
class Small:
    """A small model: its matrices in transformers' names and layout, and how they are stored."""

    seed: int = 0
    kinds: Mapping[str, str] = field(default_factory=dict)  # type by part of the name; F32 for all else
    tied: bool = True
    rules: str | None = "gpt-2"
    begins: bool | None = False  # `add_bos_token`; None leaves it out
    fields: Mapping[str, object] = field(default_factory=dict)  # further ones: texts, truth values, whole numbers
    more: Mapping[str, np.ndarray] = field(default_factory=dict)  # further tensors
    without: Sequence[str] = ()  # tensors left out
    architecture: str = "llama"
    sentencepiece: bool = False  # the tokenizer's kind; byte-level otherwise

    @property
    def n_tokens(self) -> int:
        """Number of tokens."""
        return len(pieces() if self.sentencepiece else vocabulary()[0])

    def matrices(self) -> dict[str, np.ndarray]:
        """Random values of all tensors, in float32, by transformers' names."""
        rng = np.random.default_rng(self.seed)
        draw = lambda *shape: rng.normal(0, 0.15, shape).astype(np.float32)  # noqa: E731
        n_tokens, head = self.n_tokens, WIDTH // HEADS
        found = {"model.embed_tokens.weight": draw(n_tokens, WIDTH), "model.norm.weight": 1 + draw(WIDTH)}
        if not self.tied:
            found["lm_head.weight"] = draw(n_tokens, WIDTH)
        for layer in range(LAYERS):
            shapes = {
                "self_attn.q_proj": (WIDTH, WIDTH), "self_attn.k_proj": (KV_HEADS * head, WIDTH),
                "self_attn.v_proj": (KV_HEADS * head, WIDTH), "self_attn.o_proj": (WIDTH, WIDTH),
                "mlp.gate_proj": (KEYS, WIDTH), "mlp.up_proj": (KEYS, WIDTH), "mlp.down_proj": (WIDTH, KEYS),
                "input_layernorm": (WIDTH,), "post_attention_layernorm": (WIDTH,),
            }  # fmt: skip
            for part, shape in shapes.items():
                found[f"model.layers.{layer}.{part}.weight"] = draw(*shape) + (len(shape) == 1)
        return found

    def kind_of(self, name: str, values: np.ndarray) -> str:
        """Type in which a tensor is stored; norms are float32 always."""
        found = [kind for part, kind in self.kinds.items() if part in name]
        return found[0] if found and values.ndim == 2 else "F32"

    def values(self) -> dict[str, np.ndarray]:
        """What the file's bytes mean, in float64, by transformers' names."""
        return {name: meaning(self.stored(name, m), self.kind_of(name, m)) for name, m in self.matrices().items()}

    def stored(self, name: str, values: np.ndarray) -> np.ndarray:
        """Bytes of a tensor's rows, in transformers' order of rows."""
        kind = self.kind_of(name, values)
        if kind == "F32":
            return values
        return values.astype(np.float16) if kind == "F16" else quants.quantize(values, GGMLQuantizationType[kind])

    def write(self, path: Path) -> str:
        """Write the file; return its SHA-256."""
        writer = GGUFWriter(path, self.architecture)
        writer.add_context_length(CONTEXT)
        writer.add_embedding_length(WIDTH)
        writer.add_block_count(LAYERS)
        writer.add_feed_forward_length(KEYS)
        writer.add_head_count(HEADS)
        writer.add_head_count_kv(KV_HEADS)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_freq_base(10000.0)
        writer.add_rope_dimension_count(WIDTH // HEADS)
        writer.add_vocab_size(self.n_tokens)
        (_write_pieces if self.sentencepiece else _write_vocabulary)(writer)
        if self.rules is not None:
            writer.add_tokenizer_pre(self.rules)
        if self.begins is not None:
            writer.add_add_bos_token(self.begins)
        for key, value in self.fields.items():
            kind = {str: GGUFValueType.STRING, bool: GGUFValueType.BOOL, int: GGUFValueType.UINT32}[type(value)]
            writer.add_key_value(key, value, kind)
        for name, values in self.matrices().items():
            if name not in self.without:
                kind = GGMLQuantizationType[self.kind_of(name, values)]
                writer.add_tensor(_name(name), _as_stored(name, self.stored(name, values)), raw_dtype=kind)
        for name, values in self.more.items():
            writer.add_tensor(name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_vocabulary(writer: GGUFWriter) -> None:
    tokens, merges = vocabulary()
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(sorted(tokens, key=tokens.__getitem__))
    writer.add_token_types([CONTROL, *[NORMAL] * (len(tokens) - 1)])
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)


def _write_pieces(writer: GGUFWriter) -> None:
    scores = pieces()
    writer.add_tokenizer_model("llama")
    writer.add_token_list(list(scores))
    writer.add_token_scores(list(scores.values()))
    writer.add_token_types([UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * (len(scores) - 259)])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def meaning(stored: np.ndarray, kind: str) -> np.ndarray:
    """Values of stored rows in float64: blocks of 32 numbers, each a scale, perhaps a least value, and codes."""
    if kind in ("F32", "F16"):
        return stored.astype(np.float64)
    head, codes_of = {"Q8_0": (2, _signed_bytes), "Q4_0": (2, _nibbles), "Q4_1": (4, _nibbles)}[kind]
    blocks = stored.reshape(stored.shape[0], -1, head + (32 if kind == "Q8_0" else 16))
    numbers = np.ascontiguousarray(blocks[..., :head]).view(np.float16).astype(np.float64)
    codes = codes_of(blocks[..., head:])
    least = numbers[..., 1:] if kind == "Q4_1" else 0.0
    values = numbers[..., :1] * (codes - (8 if kind == "Q4_0" else 0)) + least
    return values.reshape(stored.shape[0], -1)


def _signed_bytes(codes: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(codes).view(np.int8).astype(np.float64)


def _nibbles(codes: np.ndarray) -> np.ndarray:
    """Codes of 16 bytes: their lower halves first, then their upper ones."""
    return np.concatenate([codes & 15, codes >> 4], axis=-1).astype(np.float64)


def _name(name: str) -> str:
    """GGUF's name of a tensor."""
    outer = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    stem = name.removesuffix(".weight")
    if stem in outer:
        return f"{outer[stem]}.weight"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{PLACES[part]}.weight"


def _as_stored(name: str, rows: np.ndarray) -> np.ndarray:
    """Rows as ggml's rotary positions want them: of each head, the two halves of queries and keys interleaved."""
    heads = HEADS if ".q_proj." in name else KV_HEADS if ".k_proj." in name else 0
    if not heads:
        return rows
    return np.ascontiguousarray(rows.reshape(heads, 2, -1, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape))


def cut(path: Path, parts: int) -> list[bytes]:
    """The bytes of a file in parts; the first ends within the header."""
    content = path.read_bytes()
    ends = [300, *(len(content) * i // parts for i in range(1, parts))][:parts]
    return [content[a:b] for a, b in zip([0, *ends[:-1]], [*ends[:-1], len(content)], strict=True)]


def package(site: Path, name: str, version: str, files: Mapping[str, bytes], requires: str = "") -> None:
    """Install a package of these files into a folder, as pip leaves one."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    for path, content in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(content)
    (info / "METADATA").write_text(_metadata(name, version, requires))
    record = [*files, *(f"{info.name}/{file}" for file in ("METADATA", "RECORD"))]
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in record))


def wheel(folder: Path, name: str, version: str, files: Mapping[str, bytes], requires: str = "") -> Path:
    """Write a wheel of these files."""
    stem = f"{name.replace('-', '_')}-{version}"
    path = folder / f"{stem}-py3-none-any.whl"
    info = {
        "METADATA": _metadata(name, version, requires),
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    content = dict(files) | {f"{stem}.dist-info/{file}": text.encode() for file, text in info.items()}
    record = "".join(f"{file},,\n" for file in [*content, f"{stem}.dist-info/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for file, body in (content | {f"{stem}.dist-info/RECORD": record.encode()}).items():
            archive.writestr(file, body)
    return path


def _metadata(name: str, version: str, requires: str) -> str:
    more = f"Requires-Dist: {requires}\n" if requires else ""
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}"
