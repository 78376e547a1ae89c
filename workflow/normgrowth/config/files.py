"""A study file read as the workflow reads it: laid over `config.yaml`, dictionaries merged."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from normgrowth.config.load import load_study
from normgrowth.config.study import Study
from normgrowth.errors import StudyError

DEFAULT = Path("config.yaml")


def read_study(path: Path | None, values: Sequence[str] = ()) -> Study:
    """The study of a file in the working directory's repository.

    Args:
        path: laid over config.yaml; None for config.yaml alone.
        values: `key=value`, laid over both; the value is YAML.

    Raises:
        StudyError: when a file is missing or no YAML, or the study is faulty.
    """
    config = _read(DEFAULT)
    if path is not None:
        config = merged(config, _read(path))
    for item in values:
        key, sign, value = item.partition("=")
        if not sign:
            raise StudyError(f"--config {item!r}: give key=value")
        config = merged(config, {key: yaml.safe_load(value)})
    return load_study(config)


def merged(below: dict, above: dict) -> dict:
    """Two configurations: dictionaries are merged, all else is replaced."""
    both = dict(below)
    for key, value in above.items():
        mine = both.get(key)
        both[key] = merged(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return both


def _read(path: Path) -> dict:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError(f"{path} does not exist: run this in the repository, and name a file of studies/") from None
    except yaml.YAMLError as error:
        raise StudyError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise StudyError(f"{path} holds no configuration")
    return found
