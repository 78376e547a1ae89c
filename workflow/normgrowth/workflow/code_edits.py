"""Edits during a run: jobs keep to the study of their run, and a run reports which code was edited."""

import hashlib
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

STUDY = "NORMGROWTH_STUDY"
"""Environment variable with the path of the configuration that a run saved for its jobs."""

NAMED = 3
"""Most files that a message names."""


def keep(config: Mapping[str, Any], folder: Path) -> str:
    """Save a configuration for jobs that read the Snakefile again on other machines, maybe hours later.

    Returns:
        The absolute path of the file; jobs find it in the variable `STUDY` of their environment.
    """
    text = yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True)
    place = folder / "studies" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.yaml"
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_suffix(f".{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(place)
    return str(place.resolve())


def kept(is_job: bool) -> dict[str, Any] | None:
    """Saved configuration of the run that this job belongs to; None for a run itself, or where none was saved."""
    place = Path(os.environ.get(STUDY, ""))
    return yaml.safe_load(place.read_text(encoding="utf-8")) if is_job and place.is_file() else None


def stamps(folders: Iterable[Path]) -> dict[Path, tuple[int, int]]:
    """Time of last change (in ns) and size (in bytes) of each file of code, rules or data in these folders.

    Hidden files are left out: text editors keep lock files there, some of them broken links.
    """
    found = {}
    for place, inner, names in chain.from_iterable(map(os.walk, folders)):
        inner[:] = [name for name in inner if not name.startswith(".")]
        for file in (Path(place, name) for name in names if not name.startswith(".")):
            if file.suffix in (".py", ".smk", ".yaml"):
                with suppress(OSError):  # it may be gone, or be replaced at this moment
                    status = file.stat()
                    found[file] = status.st_mtime_ns, status.st_size
    return found


def tell_of_edits(before: Mapping[Path, tuple[int, int]], folders: Iterable[Path]) -> None:
    """Print which files have been edited since `before` was taken: jobs may have run other code than the planned.

    Args:
        before: what `stamps` returned when the run was planned.
        folders: the same folders.

    Raises nothing, since it is called at the end of runs whose own outcome counts.
    """
    with suppress(Exception):
        _tell_of_edits(before, folders)


def _tell_of_edits(before: Mapping[Path, tuple[int, int]], folders: Iterable[Path]) -> None:
    after = stamps(folders)
    edited = sorted(file.name for file in before.keys() | after.keys() if before.get(file) != after.get(file))
    if edited:
        names = ", ".join(edited[:NAMED]) + (f" and {len(edited) - NAMED} more" if len(edited) > NAMED else "")
        print(
            f"normgrowth: edited while this run went on: {names}. The next run repeats what depends on it; "
            "if you undo the edit instead, repeat what ran meanwhile: `snakemake --forcerun RULE`",
            file=sys.stderr,
            flush=True,
        )


def _plain(value: Any) -> Any:
    """A configuration of dictionaries and lists alone, as YAML is written from."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value
