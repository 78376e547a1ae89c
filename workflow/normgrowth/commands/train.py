"""Train a small language model on a world until it knows the facts."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from normgrowth.jobs.job import Intact, Job, from_json
from normgrowth.jobs.on_model import make_repeatable
from normgrowth.progress import Progress
from normgrowth.sources.toy.toy_settings import TrainingSettings


class Train(Job):
    """A model's architecture and training, and the world that it is trained on."""

    settings: Annotated[TrainingSettings, from_json(TrainingSettings)] = Field(
        description="architecture and training, as JSON"
    )
    corpus: Intact = Field(description="training corpus of the world")
    facts: Intact = Field(description="facts of the world")
    heldout: Intact = Field(description="running text that is not trained on")
    out: Path = Field(description="model folder to make")
    threads: int = Field(1, description="CPU threads")


def run(job: Train) -> None:
    """Train, check what editing needs, and write the model folder with its manifest."""
    # torch: kept out of planning and of --help
    from normgrowth.sources.toy.pretraining import TrainingFiles, train_model

    make_repeatable(job.threads)
    with Progress(job.settings.token_budget, f"training {job.settings.architecture}, tokens") as progress:
        train_model(job.settings, TrainingFiles(job.corpus, job.facts, job.heldout), job.out, progress=progress.update)
