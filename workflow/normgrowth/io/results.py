"""The tables of a finished study, as figures, claims and report read them."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from normgrowth.errors import ArtefactError
from normgrowth.io.identity import AGAIN, require
from normgrowth.io.tables import read_table_and_provenance


def read_results(folder: Path | str, names: Iterable[str], study: str | None = None) -> dict[str, pd.DataFrame]:
    """Tables by name from `<folder>/<name>.parquet`, each checked against its schema.

    Args:
        study: the study that all rows must be of; None for any.

    Raises:
        ArtefactError: when one is missing, damaged, of another schema or of another study.
    """
    return {name: read_result(folder, name, study) for name in names}


def read_result(folder: Path | str, name: str, study: str | None = None) -> pd.DataFrame:
    """One table; arguments and errors are those of `read_results`."""
    path = Path(folder) / f"{name}.parquet"
    frame, said = read_table_and_provenance(path, name)
    if study is not None:
        require(path, {"study": study, "table": name, **said}, {"study": study, "table": name})
        if others := sorted(set(frame["study"]) - {study}):
            raise ArtefactError(f"{path} holds rows of study {', '.join(others)}, where {study} belongs; {AGAIN}")
    return frame
