"""The tables of a finished study, as figures, claims and report read them."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from normgrowth.artefacts.tables import read_table


def read_results(folder: Path | str, names: Iterable[str]) -> dict[str, pd.DataFrame]:
    """Tables by name from `<folder>/<name>.parquet`, each checked against its schema.

    Raises:
        ArtefactError: when one is missing, damaged or of another schema.
    """
    return {name: read_table(Path(folder) / f"{name}.parquet", name) for name in names}
