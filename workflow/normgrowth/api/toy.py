"""A small world and a model that knows it: something to edit within a minute, without network or GPU."""

from pathlib import Path
from typing import NamedTuple

import torch

from normgrowth.jobs.on_model import make_repeatable
from normgrowth.progress import Progress
from normgrowth.sources.checkpoint_files import MANIFEST
from normgrowth.sources.toy.pretraining import TrainingFiles, train_model
from normgrowth.sources.toy.toy_settings import TrainingSettings, WorldSettings
from normgrowth.sources.toy.world import WorldFiles, write_world

WORLD = WorldSettings(
    subjects=34,
    relations=2,
    objects_per_relation=3,
    fewest_relations=2,
    most_relations=2,
    text_characters=60_000,
    heldout_characters=20_000,
)
"""People with two facts each; three objects of each relation."""

TRAINING = TrainingSettings(
    layers=4,
    width=64,
    vocabulary=600,
    batch=16,
    learning_rate=4e-3,
    token_budget=400_000,
    evaluate_every=25_000,
    recall_bar=0.95,
    paraphrase_bar=0.9,
    margin=0.0,
)
"""GPT-2's architecture in miniature: about 120 steps of training, half a minute on one core."""


class SmallWorld(NamedTuple):
    """Files of a world and the folder of a model that knows its facts."""

    model: Path
    facts: Path  # records in CounterFact's schema
    text: Path  # for second moments
    heldout: Path  # that the model was not trained on, for perplexity


def small_world(folder: str | Path = "small-world") -> SmallWorld:
    """A synthetic world and a model trained on it, in a folder; made where they are not there yet.

    Results on so small a model say nothing about others: it is for trying things out.

    Raises:
        ArtefactError: when the folder cannot be written.
    """
    folder = Path(folder)
    made = SmallWorld(folder / "model", folder / "facts.json", folder / "text.txt", folder / "heldout.txt")
    if (made.model / MANIFEST).exists():
        return made
    make_repeatable(torch.get_num_threads())
    corpus = folder / "corpus.jsonl"
    write_world(WORLD, WorldFiles(made.facts, made.text, made.heldout, corpus))
    with Progress(TRAINING.token_budget, "training a small model, at most so many tokens") as progress:
        train_model(TRAINING, TrainingFiles(corpus, made.facts, made.heldout), made.model, progress.update)
    return made
