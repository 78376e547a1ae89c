"""Bounds of users' YAML.

Through anchors, ten lines can stand for more values than fit any memory, and lists can be nested deeper than any reader
can follow: both are refused while the text is read, before anything is built.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from normgrowth.errors import StudyError

MOST_BYTES = 4 * 2**20

MOST_VALUES = 20_000
"""Most values of a text, with aliases expanded; the studies here hold fewer than 300."""

DEEPEST = 50
"""Most levels of nested lists and dictionaries."""


def read_yaml(text: str, name: object) -> object:
    """The value of a YAML text; `name` says in errors where it stands.

    Raises:
        StudyError: when it is no YAML, or beyond the bounds.
    """
    require_bounded(text, name)
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date with a thirteenth month
        raise StudyError(f"{name} is not YAML: {' '.join(str(error).split())}") from None


def require_bounded(text: str, name: object) -> None:
    """Count the values that a YAML text stands for, and stop where they are too many. A text that is no YAML passes.

    Raises:
        StudyError: naming the text, its size and the bound.
    """
    if len(text) > MOST_BYTES:
        raise StudyError(f"{name} has {len(text):,} characters: a study's YAML has at most {MOST_BYTES:,}")
    sizes: dict[str, int] = {}  # of finished values that have an anchor
    open_: list[tuple[str | None, int]] = []  # anchor of each container around the place, and values before it
    values = 0
    try:
        for event in yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(event, yaml.CollectionEndEvent):
                anchor, before = open_.pop()
                sizes |= {anchor: values - before} if anchor else {}
                continue
            if isinstance(event, yaml.AliasEvent):
                if event.anchor in (anchor for anchor, _ in open_):
                    raise StudyError(f"{name}: *{event.anchor} stands within &{event.anchor}, in itself: write it out")
                values += sizes.get(event.anchor, 1)
            elif isinstance(event, yaml.CollectionStartEvent):
                open_.append((event.anchor, values))
                values += 1
            elif isinstance(event, yaml.ScalarEvent):
                values += 1
                sizes |= {event.anchor: 1} if event.anchor else {}
            if len(open_) > DEEPEST:
                raise StudyError(f"{name} is nested {len(open_)} levels deep or more: {DEEPEST} is the most")
            if values > MOST_VALUES:
                raise StudyError(
                    f"{name} stands for {values:,} values or more, each alias counted as what it repeats: the most is "
                    f"{MOST_VALUES:,}"
                )
    except yaml.YAMLError:
        return


def check_command_line(words: Sequence[str] | None = None, more: Iterable[Path] = ()) -> None:
    """End the process in one line where Snakemake's command line gives YAML beyond the bounds.

    Snakemake reads these files with its own, unbounded reader before the Snakefile, so the profile calls this function.

    Args:
        words: words of the command line; None for those of this process.
        more: further files to check.
    """
    files: list[str] = []
    values: list[str] = []
    into: list[str] | None = None
    for word in sys.argv[1:] if words is None else words:
        given = word
        if word.startswith("--"):
            option, _, given = word.partition("=")
            into = files if option.startswith("--configf") else values if option == "--config" else None
        elif word.startswith("-"):
            # Short options may stand together and have their value attached: -C a=1, -nC a=1, -Ca=1. Looking at more
            # words than Snakemake takes for values does no harm.
            _, short, given = word.partition("C")
            into, given = values if short else None, given.removeprefix("=")
        if into is not None and given:
            into.append(given)
    try:
        for file in (*more, *map(Path, files)):
            if file.is_file():
                if (size := file.stat().st_size) > MOST_BYTES:
                    raise StudyError(f"{file} has {size:,} bytes: a study's YAML has at most {MOST_BYTES:,}")
                require_bounded(file.read_text(encoding="utf-8", errors="replace"), file)
        for value in values:
            require_bounded(value.partition("=")[2], f"--config {value[:40]}")
    except StudyError as error:
        sys.exit(str(error))
    except OSError:
        return  # Snakemake reads it too, and reports the fault
