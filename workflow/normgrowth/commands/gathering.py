"""What commands that edit share: what was gathered for an editor before its first edit.

Apart from `common`, so that commands that edit nothing do not depend on the editors' code.
"""

import argparse
import json
from pathlib import Path

from normgrowth.io.documents import intact


def add_editor(parser: argparse.ArgumentParser) -> None:
    """Which editor, and its settings."""
    parser.add_argument("--editor", required=True, help="kind of editor")
    parser.add_argument("--settings", required=True, help="the editor's settings, as JSON")


def editor_and_settings(arguments: argparse.Namespace):
    """The declaration and the settings that `add_editor`'s arguments name."""
    from normgrowth.editors.registry import declaration

    kind = declaration(arguments.editor)
    return kind, kind.Settings(**json.loads(arguments.settings))


def add_gathered(parser: argparse.ArgumentParser) -> None:
    """What was gathered for an editor before its first edit."""
    parser.add_argument("--contexts", required=True, type=intact, help="context templates of the model")
    parser.add_argument("--statistics", type=Path, help="second moments, for editors that need them")
    parser.add_argument("--null-spaces", type=Path, help="null spaces, for editors that need them")
    parser.add_argument("--hypernetwork", type=Path, help="trained hypernetwork, for editors that need one")


def gathered(arguments: argparse.Namespace, lm, settings, facts=(), seed: int = 0):
    """The resources that `add_gathered`'s arguments name, refused where they were made for something else.

    Args:
        facts: all that orders are drawn from.
        seed: of the run.
    """
    from normgrowth.editors import resources as read
    from normgrowth.editors.base import Resources
    from normgrowth.editors.settings import ControlSettings
    from normgrowth.io.provenance import file_sha256
    from normgrowth.sources.manifest import revision

    second_moments, null_spaces, hypernetwork = {}, {}, {}
    of = {"model": revision(arguments.model), "seed": arguments.seed}
    if arguments.statistics:
        second_moments = read.read_second_moments(arguments.statistics, of, lm, settings.layers or ())
    if arguments.null_spaces:
        threshold = settings.working.null_space_threshold
        null_spaces = read.read_null_spaces(arguments.null_spaces, of, lm, settings.layers or (), threshold)
    if arguments.hypernetwork:
        trained_on = {"facts": file_sha256(arguments.facts), "reserved_facts": arguments.reserved}
        kind = settings.kind if isinstance(settings, ControlSettings) else arguments.editor
        trained_on |= {"kind": kind, "settings": settings.working.model_dump(mode="json")}
        hypernetwork = read.read_hypernetwork(arguments.hypernetwork, {**of, **trained_on}, lm)
    return Resources(contexts_of(arguments), second_moments, null_spaces, hypernetwork, facts=tuple(facts), seed=seed)


def hashes_of_gathered(arguments: argparse.Namespace) -> dict[str, str | None]:
    """SHA-256 of each file that `add_gathered`'s arguments name; None where one is not needed."""
    from normgrowth.io.provenance import file_sha256

    paths = {name: getattr(arguments, name) for name in ("contexts", "statistics", "null_spaces", "hypernetwork")}
    return {name: file_sha256(path) if path else None for name, path in paths.items()}


def contexts_of(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """The context templates, by the name of their set; those of another model or seed are refused."""
    from normgrowth.editors.resources import read_contexts
    from normgrowth.sources.manifest import revision

    return read_contexts(arguments.contexts, {"model": revision(arguments.model), "seed": arguments.seed})


def templates_of(arguments: argparse.Namespace, settings) -> list[str]:
    """The templates that an editor may put before a prompt: only a search does."""
    from normgrowth.editors.settings import SearchSettings
    from normgrowth.lm.tokens import SLOT

    contexts = contexts_of(arguments)  # refused now where they are of another model, whoever reads them
    if not isinstance(settings.working, SearchSettings):
        return [SLOT]
    return [template for templates in contexts.values() for template in templates]
