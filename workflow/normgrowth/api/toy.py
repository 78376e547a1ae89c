"""A small world and a model that knows it: something to edit within a minute or so, without network or GPU."""

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
    subjects=48,
    relations=4,
    objects_per_relation=4,
    fewest_relations=4,
    most_relations=4,
    fact_share=0.85,
    text_characters=60_000,
    heldout_characters=20_000,
)
"""48 people with four facts each, since a model of people with one fact does not gather them where the name ends."""

TRAINING = TrainingSettings(
    layers=4,
    width=64,
    vocabulary=700,
    batch=16,
    learning_rate=4e-3,
    token_budget=600_000,
    evaluate_every=25_000,
    recall_bar=0.95,
    paraphrase_bar=0.9,
    margin=0.0,
)
"""GPT-2's architecture in miniature: about 360 steps of training, less than a minute of one core."""


class SmallWorld(NamedTuple):
    """Files of a world and the folder of a model that knows its facts."""

    model: Path
    facts: Path  # records in CounterFact's schema
    text: Path  # for second moments
    heldout: Path  # that the model was not trained on, for perplexity


def small_world(folder: str | Path = "small-world", training: TrainingSettings = TRAINING) -> SmallWorld:
    """A synthetic world and a model trained on it, in a folder; made where they are not there yet.

    Results on so small a model say nothing about others: it is for trying things out.

    Args:
        training: of the model, which decides nothing where the folder has one already.

    Raises:
        ArtefactError: when the folder cannot be written.
        QualityError: when the model does not come to know the facts.
    """
    folder = Path(folder)
    made = SmallWorld(folder / "model", folder / "facts.json", folder / "text.txt", folder / "heldout.txt")
    if (made.model / MANIFEST).exists():
        return made
    make_repeatable(torch.get_num_threads())
    corpus = folder / "corpus.jsonl"
    write_world(WORLD, WorldFiles(made.facts, made.text, made.heldout, corpus))
    with Progress(training.token_budget, "training a small model, tokens (most)") as progress:
        train_model(training, TrainingFiles(corpus, made.facts, made.heldout), made.model, progress.update)
    return made
