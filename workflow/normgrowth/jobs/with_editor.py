"""Jobs that edit: which editor, with which settings, and what was gathered for it before its first edit.

Apart from the other jobs, so that commands that edit nothing do not depend on the editors' code.
"""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationInfo

from normgrowth.editors.registry import declaration
from normgrowth.editors.settings import EditorSettings, SearchSettings, WrapperSettings
from normgrowth.facts.records import Fact
from normgrowth.io.provenance import file_sha256
from normgrowth.jobs.job import Intact, Job, read_settings
from normgrowth.jobs.on_model import OnModel
from normgrowth.jobs.on_run import OnRun
from normgrowth.seeds import derive
from normgrowth.sources.manifest import revision

if TYPE_CHECKING:
    from normgrowth.editors.base import Resources
    from normgrowth.lm.model import LanguageModel


def _settings_of_kind(value: object, info: ValidationInfo) -> object:
    """The settings of the editor that the job names."""
    try:
        kind = declaration(info.data.get("editor", ""))
    except KeyError as error:
        raise ValueError(error.args[0]) from error
    return read_settings(kind.Settings, value)


class WithEditor(Job):
    """An editor and its settings."""

    editor: str = Field(description="kind of editor")
    settings: Annotated[SerializeAsAny[EditorSettings], BeforeValidator(_settings_of_kind)] = Field(
        description="the editor's settings, as JSON"
    )

    @property
    def declaration(self) -> ModuleType:
        """The editor's module."""
        return declaration(self.editor)


class WithGathered(OnModel):
    """Resources gathered for an editor before its first edit, and the model that it edits."""

    facts: Intact = Field(description="facts file, a JSON list of CounterFact records")
    seed: int = Field(description="seed of the study")
    contexts: Intact = Field(description="context templates of the model")
    statistics: Path | None = Field(None, description="second moments, for editors that need them")
    null_spaces: Path | None = Field(None, description="null spaces, for editors that need them")
    gradient_moments: Path | None = Field(None, description="moments of gradients, for editors that need them")
    hypernetwork: Path | None = Field(None, description="trained hypernetwork, for editors that need one")

    @property
    def made_on(self) -> dict[str, object]:
        """Metadata that each of the files must carry: the model and seed that it was made for."""
        return {"model": revision(self.model), "seed": self.seed}

    def trained_with(self, settings: EditorSettings) -> dict[str, object]:
        """Metadata that a hypernetwork for these settings must carry, beside model and seed."""
        raise NotImplementedError(f"{type(self).__name__} edits with no hypernetwork")

    def templates_by_set(self) -> dict[str, list[str]]:
        """The context templates, by the name of their set.

        Raises:
            ArtefactError: when they are of another model or seed.
        """
        # torch: kept out of planning and of --help
        from normgrowth.editors.resources import read_contexts

        return read_contexts(self.contexts, self.made_on)

    def templates(self, settings: EditorSettings) -> list[str]:
        """The templates that an editor may put before a prompt: only a search does.

        Raises:
            ArtefactError: when they are of another model or seed, whoever reads them.
        """
        # torch: kept out of planning and of --help
        from normgrowth.lm.tokens import SLOT

        by_set = self.templates_by_set()
        if not isinstance(settings.working, SearchSettings):
            return [SLOT]
        return [template for templates in by_set.values() for template in templates]

    def gathered(
        self,
        lm: "LanguageModel",
        settings: EditorSettings,
        facts: Sequence[Fact] = (),
        seed: int = 0,
        reserved: Sequence[Fact] = (),
    ) -> "Resources":
        """The resources that the files hold.

        Args:
            lm: the unedited model.
            settings: of the editor that reads them.
            facts: all that orders are drawn from.
            seed: of the run.
            reserved: facts kept out of all orders.

        Raises:
            ArtefactError: when a file was made for something else.
        """
        # torch: kept out of planning and of --help
        from normgrowth.editors import resources as read
        from normgrowth.editors.base import Resources

        second_moments, null_spaces, gradient_moments, hypernetwork = {}, {}, {}, {}
        layers = settings.layers or ()
        if self.statistics:
            second_moments = read.read_second_moments(self.statistics, self.made_on, lm, layers)
        if self.null_spaces:
            threshold = getattr(settings.working, "null_space_threshold", None)
            null_spaces = read.read_null_spaces(self.null_spaces, self.made_on, lm, layers, threshold)
        if self.gradient_moments:
            gradient_moments = read.read_gradient_moments(self.gradient_moments, self.made_on, lm, layers)
        if self.hypernetwork:
            trained = {**self.made_on, **self.trained_with(settings)}
            hypernetwork = read.read_hypernetwork(self.hypernetwork, trained, lm)
        return Resources(
            self.templates_by_set(),
            second_moments,
            null_spaces,
            gradient_moments,
            hypernetwork,
            facts=tuple(facts),
            reserved=tuple(reserved),
            seed=seed,
        )

    def hashes_of_gathered(self) -> dict[str, str | None]:
        """SHA-256 of each file, by what it holds; None where one is not needed."""
        paths = {
            "contexts": self.contexts,
            "statistics": self.statistics,
            "null_spaces": self.null_spaces,
            "gradient_moments": self.gradient_moments,
            "hypernetwork": self.hypernetwork,
        }
        return {name: file_sha256(path) if path else None for name, path in paths.items()}


class EditingInOrder(WithGathered, OnRun, WithEditor):
    """An editor on facts of a run's edit order."""

    @property
    def run_seed(self) -> int:
        """Seed of the editor's own random draws; it differs between models, editors and orders."""
        return derive(self.seed, "edit", self.model_name, self.editor_name, self.order)

    @property
    def made_with(self) -> dict[str, object]:
        """The editor, its settings and the hashes of what was gathered for it, as states and tables record them."""
        said = {"kind": self.editor, "settings": self.settings.model_dump(mode="json")}
        return {**said, **self.hashes_of_gathered()}

    def trained_with(self, settings: EditorSettings) -> dict[str, object]:
        """The facts, the editor's kind and its settings; those of the innermost editor of a wrapper."""
        kind = settings.working_kind if isinstance(settings, WrapperSettings) else self.editor
        return {
            "facts": file_sha256(self.facts),
            "reserved_facts": self.reserved,
            "kind": kind,
            "settings": settings.working.model_dump(mode="json"),
        }
