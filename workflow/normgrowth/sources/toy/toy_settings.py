"""Settings of a synthetic world and of a small model trained on it; the defaults are those of the default study.

This module is imported whenever the workflow is parsed, so it must stay free of heavy imports.
"""

from typing import Literal

from pydantic import Field, model_validator

from normgrowth.checked import Checked, Count, Share

NEIGHBOURS = 10
"""Prompts about other subjects with the same object, for every fact (as in CounterFact)."""


class WorldSettings(Checked):
    """A seeded world: people with made-up names, several facts about each, and text that tells them."""

    seed: int = Field(1, ge=0, description="Seed of names, facts and text.")
    subjects: int = Field(100, ge=12, le=2000, description="People in the world.")
    relations: int = Field(12, ge=1, le=12, description="Kinds of fact: place of birth, instrument, ...")
    objects_per_relation: int = Field(
        5, ge=2, le=8, description="Objects a relation can take; the subjects of a relation share them evenly."
    )
    fewest_relations: int = Field(6, ge=1, le=12, description="Fewest facts about one subject.")
    most_relations: int = Field(8, ge=1, le=12, description="Most facts about one subject.")
    repetitions: int = Field(
        8, ge=1, le=200, description="Times the training corpus states each fact in each of its templates."
    )
    fact_share: float = Field(
        0.65, gt=0, le=1, description="Share of sentences that state a fact; the others are running text."
    )
    text_characters: int = Field(
        400_000, ge=1000, description="Length of the text for second moments and activation probes."
    )
    heldout_characters: int = Field(60_000, ge=1000, description="Length of the text for perplexity.")

    @model_validator(mode="after")
    def _every_fact_has_neighbours(self) -> "WorldSettings":
        if not self.fewest_relations <= self.most_relations <= self.relations:
            raise ValueError(
                f"fewest_relations <= most_relations <= relations must hold, but they are "
                f"{self.fewest_relations}, {self.most_relations} and {self.relations}"
            )
        sharing = sum(self.relation_counts()) // self.relations // self.objects_per_relation
        if sharing <= NEIGHBOURS:
            raise ValueError(
                f"only {sharing} subjects would share an object, but {NEIGHBOURS + 1} must, so that each fact "
                "has its neighbours: raise subjects, or lower objects_per_relation or relations"
            )
        return self

    def relation_counts(self) -> list[int]:
        """Number of relations of each subject: the counts allowed, in turn."""
        counts = range(self.fewest_relations, self.most_relations + 1)
        return [counts[i % len(counts)] for i in range(self.subjects)]


class TrainingSettings(Checked):
    """A small language model and how it is trained until it knows the world's facts."""

    architecture: Literal["gpt2", "llama", "glm", "glm4"] = Field(
        "gpt2",
        description="Architecture of the model. `glm` and `glm4` differ in one thing: `glm4` norms what attention and "
        "MLP give before it reaches the residual stream.",
    )
    seed: int = Field(1, ge=0, description="Seed of the initial weights and of the order of training windows.")
    layers: int = Field(6, ge=1, le=48, description="Transformer blocks.")
    width: int = Field(96, ge=8, le=4096, description="Width of the residual stream.")
    heads: int = Field(4, ge=1, le=64, description="Attention heads of a block.")
    vocabulary: int = Field(1200, ge=260, le=65_536, description="Tokens of the byte-level BPE.")
    context: int = Field(64, ge=16, le=4096, description="Tokens of a training window, and the longest input.")
    batch: int = Field(4, ge=1, le=4096, description="Training windows of one step.")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="Peak learning rate.")
    warmup_steps: int = Field(30, ge=0, description="Steps over which the learning rate rises to its peak.")
    weight_decay: float = Field(0.1, ge=0, description="Decoupled weight decay of the matrices.")
    object_weight: float = Field(
        8.0, gt=0, description="Weight of an object's tokens in the loss; all other tokens weigh 1."
    )
    token_budget: int = Field(
        750_000, ge=1, description="Tokens after which training ends; the learning rate decays towards it."
    )
    evaluate_every: int = Field(50_000, ge=1, description="Tokens between two tests of the bars.")
    recall_bar: float = Field(
        0.98, ge=0, le=1.1, description="Share of edit prompts whose true object must win; above 1 never holds."
    )
    paraphrase_bar: float = Field(
        0.95, ge=0, le=1.1, description="Share of paraphrases whose true object must win; above 1 never holds."
    )
    margin: float = Field(
        0.25,
        ge=0,
        le=1,
        description="Training goes on until the bars are passed by this share of their distance from 1.",
    )

    @model_validator(mode="after")
    def _shapes_fit(self) -> "TrainingSettings":
        if self.width % (2 * self.heads):
            raise ValueError(f"width must be an even multiple of heads, but they are {self.width} and {self.heads}")
        return self


class Vetting(Checked):
    """Scores that single R-ROME edits of a trained model must reach, each made alone on the unedited model."""

    facts: Count = Field(20, description="Facts edited, one at a time.")
    es: Share = Field(0.95, description="Lowest mean efficacy.")
    ps: Share = Field(0.70, description="Lowest mean paraphrase score.")
    ns: Share = Field(0.80, description="Lowest mean neighbourhood score.")
