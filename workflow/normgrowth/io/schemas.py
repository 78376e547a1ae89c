"""Arrow schemas of the tables that `io.columns` lists."""

import pyarrow as pa

from normgrowth.io.columns import IDENTITY, TABLES, WHERE, WITHOUT_TIMES

_LIST = "list<"


def _field(name: str, kind: str) -> pa.Field:
    return pa.field(name, pa.list_(pa.field("item", kind[len(_LIST) : -1])) if kind.startswith(_LIST) else kind)


def _schema(*columns: tuple[str, str]) -> pa.Schema:
    return pa.schema([_field(*column) for column in (*IDENTITY, *columns)])


SCHEMAS: dict[str, pa.Schema] = {name: _schema(*table.columns) for name, table in TABLES.items()}
"""The schema of each table."""


def segment_schema(name: str) -> pa.Schema:
    """The schema of table `name` as a segment writes it: without wall times.

    Raises:
        KeyError: when there is no such table.
    """
    schema = SCHEMAS[name]
    for column in WITHOUT_TIMES.get(name, ()):
        schema = schema.remove(schema.get_field_index(column))
    return schema


def vector_schema(width: int) -> pa.Schema:
    """Schema of raw activations at one site: a vector is a fixed-size list of `width` float32 numbers."""
    return _schema(*WHERE, ("number", "int32")).append(pa.field("vector", pa.list_(pa.float32(), width)))
