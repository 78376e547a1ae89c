"""Model of a whole study: every key of its file that is no key of a section."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from normgrowth.checked import Count, Few, Seed
from normgrowth.facts.streams import ONCE, Stream
from normgrowth.figures.style import StyleSettings
from normgrowth.layout import HELDOUT_SUFFIX
from normgrowth.measure.measure_settings import Measure
from normgrowth.study.sections import (
    Ability,
    Contexts,
    FactSource,
    Intervention,
    ModelSource,
    Name,
    Names,
    SecondMoments,
    Section,
    TextSource,
    Vectors,
    World,
)


class Study(Section):
    """Models, facts and editors of a study, the number of edits, and what is measured.

    Lists select; dictionaries define. Laid over `config.yaml`, a study's dictionaries are merged with those there, and
    its lists and single values take their place. A study of another name than that in `config.yaml`, with other models
    or facts, takes none of `description`, `orders`, `more_orders`, `block`, `stream`, `single_edits`, `left_out`,
    `contexts`, `measure`, `interventions`, `vectors` and `ability` from there: what it does not give is at its default.
    """

    study: Name = Field(description="Name of the study; its results stand in `results/<study>/`.")
    description: str = Field(
        "", description="What the report says about the study, in a sentence or two; made from the rest when left out."
    )
    seed: Seed = Field(0, description="Seed of everything random.")
    assets: str | None = Field(
        None,
        min_length=1,
        description="Folder that paths may refer to as `{assets}`, relative to the working directory. Usually given on "
        "the command line: `--config assets=FOLDER`.",
    )
    models: Names = Field(description="Models to edit: names in `model_sources`.")
    editors: Names = Field(
        description="Editors to run. An editor's name is its kind, alone or followed by `-` and a name of its settings "
        "(`memit`, `memit-weak`)."
    )
    facts: Name = Field(description="Facts to edit: a name in `fact_sources`.")
    text: Name = Field(
        description="Text for second moments and activation probes: a name in `text_sources`, or that of a world."
    )
    heldout_text: Name = Field(
        description="Text for perplexity: a name in `text_sources`, or that of a world followed by `-heldout`."
    )
    edits: Count = Field(description="Edits of every run; a multiple of `segment`.")
    segment: Count = Field(
        description="Edits in one job; a multiple of every editor's `batch`. Results do not depend on it."
    )
    orders: Few = Field(1, description="Seeded edit orders; each is a run of its own.")
    more_orders: dict[Name, dict[Name, Few]] = Field(
        {}, description="Edit orders of single editors, where they are not `orders`: by model, then by editor."
    )
    block: Count | None = Field(
        None,
        description="Facts that one edit order begins with and no other one does, at least `edits`: orders then edit "
        "no fact in common. Left out, every order is drawn from all facts.",
    )
    single_edits: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Facts that every editor also edits alone on the unedited model, each undone before the next: a "
        "table of their scores.",
    )
    unique_subjects: bool = Field(False, description="Edit no subject twice in an order.")
    stream: Stream = Field(ONCE, description="Edits of facts that were edited before.")
    left_out: dict[Name, Names] = Field(
        {}, description="Editors that a model is not edited by, by model: for models on which an editor makes no sense."
    )
    contexts: Contexts = Field(Contexts(), description="Context templates.")
    second_moments: SecondMoments = Field(SecondMoments(), description="Second moments.")
    measure: Measure = Field(Measure(), description="Checkpoints and what is measured there.")
    interventions: dict[Name, Intervention] = Field(
        {}, description="Updates of whole models whose norms are followed, by name."
    )
    vectors: Vectors = Field(Vectors(), description="Activations that are kept themselves.")
    ability: Ability = Field(Ability(), description="General ability, by tasks of the lm-evaluation-harness.")
    figures: StyleSettings = Field(StyleSettings(), description="Look of the figures.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "cpu", description="What models run on; `auto` is cuda where there is one."
    )
    gpus: Few = Field(
        1,
        description="GPUs of one job, where `device` is `cuda`: a model that one cannot hold is spread over them.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Precision of matrix products in forward passes. Weights, solves and norms are float32 or float64 "
        "always.",
    )
    threads: Few = Field(1, description="CPU threads of one job.")
    model_sources: dict[Name, ModelSource] = Field(description="Where models come from, by name.")
    fact_sources: dict[Name, FactSource] = Field(description="Where facts come from, by name.")
    text_sources: dict[Name, TextSource] = Field({}, description="Where texts come from, by name.")
    editor_settings: dict[Name, dict[str, Any]] = Field(
        {},
        description="Settings by editor that differ from its defaults. Under `per_model`, settings that hold for one "
        "model, by its name.",
    )

    @model_validator(mode="after")
    def _edits_fill_segments(self) -> Self:
        if self.edits % self.segment:
            below = self.edits - self.edits % self.segment
            allowed = " or ".join(str(n) for n in (below, below + self.segment) if n)
            raise ValueError(f"edits is {self.edits}: it must be a multiple of segment ({self.segment}), as {allowed}")
        return self

    @model_validator(mode="after")
    def _blocks_hold_edits(self) -> Self:
        if self.block is not None and self.block < self.edits:
            raise ValueError(f"block is {self.block}: an order edits {self.edits} facts (edits), all of its block")
        return self

    @property
    def most_orders(self) -> int:
        """The most edit orders of any editor."""
        return max([self.orders, *(orders for editors in self.more_orders.values() for orders in editors.values())])

    @model_validator(mode="after")
    def _gpus_are_of_cuda(self) -> Self:
        if self.gpus > 1 and self.device != "cuda":
            raise ValueError(f"gpus is {self.gpus}, but device is {self.device}: several GPUs need device cuda")
        return self

    @property
    def reserved_facts(self) -> int:
        """Number of facts of the study's source that stand in no edit order."""
        return self.fact_sources[self.facts].reserved

    @property
    def worlds(self) -> dict[str, World]:
        """Synthetic worlds among the sources of facts, by name."""
        return {name: source for name, source in self.fact_sources.items() if isinstance(source, World)}

    @property
    def world_texts(self) -> set[str]:
        """Names of the texts that worlds bring."""
        return {text for world in self.worlds for text in (world, world + HELDOUT_SUFFIX)}
