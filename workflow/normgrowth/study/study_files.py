"""Files of studies: read, laid over the default study and checked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from normgrowth.errors import StudyError
from normgrowth.study.bounds import read_yaml
from normgrowth.study.checks import faults_of
from normgrowth.study.messages import describe, together
from normgrowth.study.study import Study

REPOSITORY = Path(__file__).parents[3]
DEFAULT = "config.yaml"
PACKAGED = Path(__file__).parent / "default.yaml"
"""The default study as the installed package has it."""

SHOWN = 80
"""Most characters of a value in messages."""

SUBJECT = ("models", "editors", "facts")
"""Keys whose change invalidates the default study's description."""

OF_ONE_STUDY = (
    "orders",
    "more_orders",
    "block",
    "stream",
    "single_edits",
    "left_out",
    "contexts",
    "measure",
    "interventions",
    "vectors",
    "ability",
)
"""Keys that the default study chooses for its own models. A study of other models or facts has them at their
defaults instead."""


def in_repository(path: Path | str) -> Path:
    """Path of a file in the working directory, or else of the one of the same name in the repository."""
    here = Path(path)
    return here if here.exists() else REPOSITORY / here


def default_file() -> Path:
    """Path of the default study: `config.yaml` of the working directory, else of the repository, else the package's."""
    found = in_repository(DEFAULT)
    return found if found.exists() else PACKAGED


def read_study(path: Path | None, values: Sequence[str] = ()) -> Study:
    """The study of a file.

    Args:
        path: file that is laid over the default study; None for that one alone.
        values: items `key=value` that are laid over both; each value is YAML.

    Raises:
        StudyError: when a file is missing or no YAML, or the study is faulty.
    """
    above = {} if path is None else read_file(path)
    for item in values:
        key, sign, value = item.partition("=")
        if not sign:
            raise StudyError(f"--config {item!r}: give key=value")
        above = merged(above, {key: read_yaml(value, f"--config {item[:SHOWN]!r}")})
    return load_study(laid_over(read_file(default_file()), above))


def laid_over(base: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration laid over the default study: dictionaries are merged, all else is replaced.

    The default study's own choices do not reach another study: the keys `OF_ONE_STUDY` are dropped from `base` where
    `above` has another name and other models or facts, and the description wherever it would be wrong. A study of
    another name that edits the default models with the default facts is a variation, and keeps what it does not change.
    """
    left: set[str] = set()
    if _changes(base, above, "study") and (_changes(base, above, "facts") or _has_other_models(base, above)):
        left.update(OF_ONE_STUDY)
    if any(_changes(base, above, key) for key in ("study", *SUBJECT)):
        left.add("description")
    return merged({key: value for key, value in base.items() if key not in left}, above)


def _has_other_models(base: Mapping[str, Any], above: Mapping[str, Any]) -> bool:
    """True where no model of `above` is one of the default study's."""
    models = above.get("models", base.get("models"))
    return isinstance(models, list) and not any(model in base.get("models", []) for model in models)


def _changes(base: Mapping[str, Any], above: Mapping[str, Any], key: str) -> bool:
    return key in above and above[key] != base.get(key)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two configurations as one: dictionaries are merged, all else is replaced.

    An empty dictionary replaces a value that is none, which `snakemake.utils.update_config` would keep.
    """
    both = dict(below)
    for key, value in above.items():
        mine = both.get(key)
        both[key] = merged(mine, value) if isinstance(mine, Mapping) and isinstance(value, Mapping) else value
    return both


def load_study(config: Mapping[str, Any]) -> Study:
    """Validate a configuration; relative paths in it are taken from the working directory.

    Raises:
        StudyError: naming each key at fault, its value and what is allowed.
    """
    try:
        study = Study(**config)
    except ValidationError as error:
        raise StudyError(f"error in the study: {together(describe(error, Study))}") from error
    faults = faults_of(study)
    if faults:
        raise StudyError(f"error in the study: {together(faults)}")
    return study


def read_file(path: Path) -> dict[str, Any]:
    """Keys and values of a study's file.

    Raises:
        StudyError: when it is missing, cannot be read, holds none or is beyond the bounds of YAML.
    """
    try:
        found = read_yaml(path.read_text(encoding="utf-8"), path)
    except FileNotFoundError:
        hint = f"; the studies that come with the software stand in {REPOSITORY / 'studies'}"
        raise StudyError(f"{path} does not exist: name a study's file{hint}") from None
    except OSError as error:
        raise StudyError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise StudyError(f"{path} is not UTF-8: {error}") from None
    if not isinstance(found, dict):
        raise StudyError(f"{path} holds no configuration: a study's file maps keys to values")
    return found
