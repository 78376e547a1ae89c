"""Take running text from local files."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--paths", required=True, type=Path, nargs="+", help="UTF-8 text files, in this order")
    parser.add_argument("--out", required=True, type=Path, help="text file to write")


def run(arguments: argparse.Namespace) -> None:
    """Join the files, a blank line between them, so that documents stay separated by blank lines."""
    from normgrowth.artefacts.atomic import write_text

    write_text(arguments.out, "\n\n".join(read_text(path) for path in arguments.paths) + "\n")


def read_text(path: Path) -> str:
    """The text of a file, without white space at its ends.

    Raises:
        ArtefactError: when the file is missing, empty or not UTF-8.
    """
    from normgrowth.errors import ArtefactError

    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ArtefactError(f"text file {path} does not exist") from error
    except UnicodeDecodeError as error:
        raise ArtefactError(
            f"text file {path} is not UTF-8: {error.reason} at byte {error.start}; convert it with iconv"
        ) from error
    if not text:
        raise ArtefactError(f"text file {path} is empty")
    return text
