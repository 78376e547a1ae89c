"""What is timed: a model with facts and text, given or random, and what editors need of it before their first edit."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from normgrowth.editors.base import Resources
from normgrowth.editors.moments import gather_second_moments, null_space
from normgrowth.facts.almanac.records import almanac_records
from normgrowth.facts.records import Fact, facts_of, read_facts
from normgrowth.lm.model import LanguageModel, language_model
from normgrowth.sources.loading import load_model
from normgrowth.sources.text import documents, windows
from normgrowth.sources.toy.small_model import train_tokenizer
from normgrowth.sources.toy.toy_settings import TrainingSettings, WorldSettings
from normgrowth.sources.toy.world import WorldFiles, write_world

SHAPES = {
    "gpt2-7m": ("gpt2", {"n_embd": 256, "n_layer": 6, "n_head": 8, "n_positions": 256}),
    "gpt2-xl": ("gpt2", {"n_embd": 1600, "n_layer": 48, "n_head": 25, "n_positions": 1024}),
    "gpt-j": ("gptj", {"n_embd": 4096, "n_layer": 28, "n_head": 16, "rotary_dim": 64, "n_positions": 2048}),
    "llama-3-8b": (
        "llama",
        {
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "max_position_embeddings": 8192,
            "rope_theta": 500000.0,
        },
    ),
}
"""Architectures and sizes; the weights are random."""

NO_TOKENS = {"bos_token_id": None, "eos_token_id": None}
VOCABULARY = {"gpt2-7m": 8192, "gpt2-xl": 50257, "gpt-j": 50400, "llama-3-8b": 128256}

WINDOW, ROWS = 128, 16
"""Tokens of a window of text, and windows in one pass."""


@dataclass(frozen=True)
class Subject:
    """A model, facts to write into it, text, and context templates of the lengths that published code samples."""

    name: str
    lm: LanguageModel
    facts: list[Fact]
    text: torch.Tensor  # windows [n, WINDOW]
    contexts: dict[str, list[str]]

    def resources(
        self, layers: tuple[int, ...], null_spaces: bool = False, gradient_moments: bool = False, **more
    ) -> Resources:
        """Second moments of layers, which are positive definite for want of units that never vary."""
        moments = gather_second_moments(self.lm, self.text.split(ROWS), layers)
        for moment in moments.values():
            moment.moment.diagonal().add_(1e-3 * moment.mean_square)  # few tokens do for timing
        spaces = {n: null_space(moment, moment.mean_square) for n, moment in moments.items()} if null_spaces else {}
        few = self.text[:ROWS].split(ROWS) if gradient_moments else ()
        gradients = gather_second_moments(self.lm, few, layers, of="gradients")
        return Resources(self.contexts, moments, spaces, gradients, facts=tuple(self.facts), **more)


def given(assets: Path, count: int = 512) -> Subject:
    """The model `cf-gpt2-7m` of a folder of assets, with the facts that it knows and text."""
    folder = assets / "models" / "cf-gpt2-7m"
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    text = sorted((assets / "data" / "text").glob("wiki_*.txt"))[0]
    return _subject("cf-gpt2-7m", model, tokenizer, read_facts(folder / "records.json"), text, count)


def of_folder(folder: Path) -> Subject:
    """The model of a folder, with the package's own facts of the real world and a synthetic world's text."""
    lm = load_model(folder)
    with _world(WINDOW) as (_, text):
        facts = facts_of(almanac_records(0, 64), "almanac")
        return _subject(folder.name, lm.model, lm.tokenizer, facts, text, 1)


def random_model(shape: str, device: str = "cpu", count: int = 512, **sizes) -> Subject:
    """Random weights in a shape of `SHAPES`, some of its sizes changed; the facts and text are a synthetic world's."""
    kind, values = SHAPES[shape]
    with _world(8 * WINDOW * count) as (facts, text):
        tokenizer = train_tokenizer(TrainingSettings(vocabulary=1200), ["\n\n".join(documents(text))])
        config = AutoConfig.for_model(kind, **{**values, "vocab_size": VOCABULARY[shape], **NO_TOKENS, **sizes})
        torch.manual_seed(0)
        with torch.device(device):
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        return _subject(shape, model, tokenizer, read_facts(facts), text, count)


@contextmanager
def _world(characters: int) -> Iterator[tuple[Path, Path]]:
    """Files of a synthetic world: its facts, and its text of at least so many characters."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("facts.json", "text.txt", "heldout.txt", "corpus.jsonl")]
        write_world(WorldSettings(subjects=200, text_characters=max(400_000, characters)), WorldFiles(*paths))
        yield paths[0], paths[1]


def _subject(name, model, tokenizer: PreTrainedTokenizerFast, facts: list[Fact], text: Path, count: int) -> Subject:
    lm = language_model(model, tokenizer)
    words = [document.split() for document in documents(text)]
    begun = [" ".join(part[:length]) + ". {}" for part, length in zip(words[:20], [5, 10] * 10, strict=True)]
    contexts = {"uniform": ["{}", *begun], "grouped": ["{}", *begun[1::4]]}
    return Subject(name, lm, facts, windows(text, tokenizer, WINDOW, count, 0, "timing"), contexts)
