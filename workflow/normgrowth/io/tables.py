"""The only reader and writer of Parquet: tables of the schemas of `io.schemas`, with their provenance."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from normgrowth.errors import ArtefactError
from normgrowth.io.atomic import whole_or_not_at_all
from normgrowth.io.digests import BLANK, KEY, Span, check_seal, damaged, seal, seal_fault
from normgrowth.io.identity import AGAIN, require
from normgrowth.io.schemas import SCHEMAS, segment_schema

PROVENANCE_KEY = b"normgrowth"
MAGIC = b"PAR1"


def write_table(path: Path | str, frame: pd.DataFrame, schema: pa.Schema | str, provenance: dict | None = None) -> None:
    """Write `frame`, which has the columns of `schema`, to `path`.

    Equal frames and provenance give equal bytes: nothing of the time or the machine is added.

    Args:
        schema: of `io.schemas`, or its name there.
        provenance: JSON values for the file's metadata.

    Raises:
        ArtefactError: when columns are missing, unknown or of another kind, or the disk is full.
    """
    schema = SCHEMAS[schema] if isinstance(schema, str) else schema
    missing = [name for name in schema.names if name not in frame.columns]
    unknown = [name for name in frame.columns if name not in schema.names]
    if missing or unknown:
        raise ArtefactError(f"{path}: columns missing {missing}, unknown {unknown}; the schema is {schema.names}")
    try:
        table = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ArtefactError(f"{path}: a column does not fit its type: {error}") from error
    table = table.replace_schema_metadata(_metadata(provenance))
    with whole_or_not_at_all(path) as partial:
        pq.write_table(table, partial, compression="zstd", write_page_checksum=True)
        seal(partial, _footer)


def write_row_groups(
    path: Path | str, schema: pa.Schema, groups: Iterable[pa.RecordBatch], provenance: dict | None = None
) -> None:
    """Write batches under `schema` as one row group each, as they come, so that only one is in memory.

    Raises:
        ArtefactError: when the disk is full.
    """
    schema = schema.with_metadata(_metadata(provenance))
    with whole_or_not_at_all(path) as partial:
        with pq.ParquetWriter(partial, schema, compression="zstd", write_page_checksum=True) as writer:
            for group in groups:
                writer.write_batch(group, row_group_size=max(1, len(group)))
        seal(partial, _footer)


def read_table(path: Path | str, name: str | None = None) -> pd.DataFrame:
    """Read a table; with `name`, require the columns of `SCHEMAS[name]` (wall times may be absent).

    Raises:
        ArtefactError: when the file is missing, of another schema or damaged, be it by a single bit.
    """
    return read_table_and_provenance(path, name)[0]


def read_table_and_provenance(path: Path | str, name: str | None = None) -> tuple[pd.DataFrame, dict]:
    """Read a table, and the provenance that `write_table` stored in its metadata; raises as `read_table` does."""
    check_seal(path, _footer)
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        provenance, frame = _provenance(table.schema), table.to_pandas()
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise damaged(path, error) from error
    if name is not None:
        _require_columns(path, frame, name)
    return frame, provenance


def read_provenance(path: Path | str) -> dict:
    """The provenance that `write_table` stored in the file's metadata.

    Raises:
        ArtefactError: when the file is missing or damaged.
    """
    check_seal(path, _footer)
    try:
        return _provenance(pq.read_schema(path))
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise damaged(path, error) from error


def read_table_if_whole(path: Path | str) -> pd.DataFrame | None:
    """A table without its provenance; None where it is missing or damaged: such a file stays where it is."""
    try:
        return None if seal_fault(path, _footer) else pq.read_table(path).to_pandas()
    except (pa.ArrowException, OSError, ValueError):
        return None


def read_results(folder: Path | str, names: Iterable[str], study: str | None = None) -> dict[str, pd.DataFrame]:
    """Tables of a finished study by name, from `<folder>/<name>.parquet`, with the columns of `SCHEMAS[name]`.

    Args:
        study: the study that all rows must be of; None for any.

    Raises:
        ArtefactError: when one is missing, damaged, of another schema or of another study.
    """
    return {name: read_result(folder, name, study) for name in names}


def read_result(folder: Path | str, name: str, study: str | None = None) -> pd.DataFrame:
    """One table of a finished study; arguments and errors are those of `read_results`."""
    path = Path(folder) / f"{name}.parquet"
    frame, said = read_table_and_provenance(path, name)
    if study is not None:
        require(path, {"study": study, "table": name, **said}, {"study": study, "table": name})
        if others := sorted(set(frame["study"]) - {study}):
            raise ArtefactError(f"{path} holds rows of study {', '.join(others)}, where {study} belongs; {AGAIN}")
    return frame


def read_quantised(folder: Path | str, names: Iterable[str]) -> dict[str, str]:
    """How the weights of a study's models were quantised before they became float32, by model, as far as they were.

    Args:
        names: tables of the folder, whose metadata say it.

    Raises:
        ArtefactError: when a table is missing or damaged.
    """
    found: dict[str, str] = {}
    for name in names:
        runs = read_provenance(Path(folder) / f"{name}.parquet").get("runs", {})
        for run, made_by in runs.items():
            if note := made_by.get("model_quantisation"):
                found[run.split("/")[0]] = note
    return dict(sorted(found.items()))


def _require_columns(path: Path | str, frame: pd.DataFrame, name: str) -> None:
    missing = [column for column in segment_schema(name).names if column not in frame.columns]
    unknown = [column for column in frame.columns if column not in SCHEMAS[name].names]
    if missing or unknown:
        faults = [f"columns {missing} are missing"] * bool(missing) + [f"columns {unknown} are unknown"] * bool(unknown)
        raise ArtefactError(
            f"{path} is no table of {name}: {' and '.join(faults)}; delete it and run the workflow again"
        )


def _provenance(schema: pa.Schema) -> dict:
    provenance = json.loads(schema.metadata[PROVENANCE_KEY])
    del provenance[KEY]
    return provenance


def _metadata(provenance: dict | None) -> dict[bytes, bytes]:
    return {PROVENANCE_KEY: json.dumps({**(provenance or {}), KEY: BLANK}, sort_keys=True).encode()}


def _footer(file: BinaryIO, size: int) -> Span | None:
    """Span of a Parquet file's footer; None where the file is cut short.

    The footer's length stands before the four letters with which such a file begins and ends.
    """
    beginning = file.read(len(MAGIC))
    file.seek(max(0, size - 8))
    ending = file.read()
    end = size - 8
    start = end - int.from_bytes(ending[:4], "little")
    return Span(start, end) if beginning == ending[4:] == MAGIC and start >= len(MAGIC) else None
