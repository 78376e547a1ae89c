"""Take running text from local files: plain text, or a column of Parquet files."""

import argparse
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--paths", required=True, type=Path, nargs="+", help="UTF-8 text or Parquet files, in this order"
    )
    parser.add_argument("--column", help="the files are Parquet: their column of documents")
    parser.add_argument("--documents", type=int, help="take so many rows of Parquet files")
    parser.add_argument("--out", required=True, type=Path, help="text file to write")


def run(arguments: argparse.Namespace) -> None:
    """Join the files, a blank line between them, so that documents stay separated by blank lines."""
    from normgrowth.artefacts.atomic import write_text

    if arguments.column:
        parts = list(islice(documents_in(arguments.paths, arguments.column), arguments.documents))
    else:
        parts = [read_text(path) for path in arguments.paths]
    write_text(arguments.out, "\n\n".join(parts) + "\n")


def documents_in(paths: Iterable[Path], column: str) -> Iterator[str]:
    """The documents in a column of Parquet files; blank lines within one become line breaks, empty ones are left out.

    Raises:
        ArtefactError: when a file is no Parquet, or has no such column of text.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from normgrowth.errors import ArtefactError

    for path in paths:
        try:
            file = pq.ParquetFile(path)
        except (FileNotFoundError, pa.ArrowInvalid) as error:
            raise ArtefactError(f"{path} is no Parquet file: {' '.join(str(error).split())}") from error
        kinds = {field.name: field.type for field in file.schema_arrow}
        if column not in kinds or not (pa.types.is_string(kinds[column]) or pa.types.is_large_string(kinds[column])):
            raise ArtefactError(f"{path} has no column {column!r} of text; it has {', '.join(kinds)}")
        for batch in file.iter_batches(columns=[column]):
            for text in batch.column(0).to_pylist():
                lines = [line for line in (text or "").splitlines() if line.strip()]
                if lines:
                    yield "\n".join(lines)


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
