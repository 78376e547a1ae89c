"""Take running text from local files: plain text, or a column of Parquet files."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from normgrowth.errors import ArtefactError
from normgrowth.facts.orthography import is_blank, stripped
from normgrowth.io.documents import write_text
from normgrowth.io.encodings import read_unicode
from normgrowth.jobs.job import AsNamed, Job

if TYPE_CHECKING:
    import pyarrow as pa


class ImportText(Job):
    """Files of text, or of a column of text."""

    paths: tuple[AsNamed, ...] = Field(description="UTF-8 text or Parquet files, in this order")
    column: str | None = Field(None, description="the files are Parquet: their column of documents")
    documents: int | None = Field(None, description="take so many rows of Parquet files")
    out: Path = Field(description="text file to write")


def run(job: ImportText) -> None:
    """Join the files, a blank line between them, so that documents stay separated by blank lines."""
    if job.column:
        parts = list(islice(documents_in(job.paths, job.column), job.documents))
        if not parts:
            files = ", ".join(map(str, job.paths))
            raise ArtefactError(f"column {job.column!r} of {files} holds no text")
    else:
        parts = [read_text(path) for path in job.paths]
    write_text(job.out, "\n\n".join(parts) + "\n")


def documents_in(paths: Iterable[Path], column: str) -> Iterator[str]:
    """The documents in a column of Parquet files; blank lines within one become line breaks, empty ones are left out.

    Text may be stored as any of Arrow's types of text, in a dictionary, or as the bytes of UTF-8.

    Raises:
        ArtefactError: when a file is no Parquet or damaged, or has no such column of text.
    """
    for path in paths:
        for text in _column_of(path, column):
            lines = [line for line in (text or "").splitlines() if not is_blank(line)]
            if lines:
                yield "\n".join(lines)


def _column_of(path: Path, column: str) -> Iterator[str | None]:
    """The values of a column of text in a Parquet file.

    Raises:
        ArtefactError: when the file is no Parquet or damaged, or has no such column of text.
    """
    # pyarrow: kept out of planning and of --help
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise ArtefactError(f"{path} is no Parquet file: {' '.join(str(error).split())}") from error
    schema = file.schema_arrow
    place = schema.get_field_index(column)  # -1 too where the name stands twice
    if place < 0:
        twice = " once" if column in schema.names else ""
        raise ArtefactError(f"{path} has no column {column!r} of text{twice}; it has {', '.join(schema.names)}")
    kind = schema.field(place).type
    if not _is_text(kind):
        texts = [field.name for field in schema if _is_text(field.type)]
        has = f"it has {', '.join(schema.names)}" + (f", of text {', '.join(texts)}" if texts else "")
        raise ArtefactError(f"{path} has no column {column!r} of text; {has} ({column!r} is of type {kind})")
    try:
        for batch in file.iter_batches(columns=[column]):
            yield from batch.column(0).cast(pa.large_string()).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise ArtefactError(
            f"column {column!r} of {path}, of type {kind}, is damaged or no UTF-8: {' '.join(str(error).split())}"
        ) from error


def _is_text(kind: "pa.DataType") -> bool:
    """Test for an Arrow type that holds text, or bytes that may be text."""
    # pyarrow: kept out of planning and of --help
    from pyarrow import types

    if types.is_dictionary(kind):
        return _is_text(kind.value_type)
    text = types.is_string, types.is_large_string, types.is_string_view
    return any(of(kind) for of in (*text, types.is_binary, types.is_large_binary, types.is_binary_view))


def read_text(path: Path) -> str:
    """The text of a file, without blanks at its ends.

    Raises:
        ArtefactError: when the file is missing, empty or no text.
    """
    text = stripped(read_unicode(path, "text file", ArtefactError))
    if not text:
        raise ArtefactError(f"text file {path} is empty")
    return text
