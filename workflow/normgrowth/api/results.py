"""Results of a study: its tables, verdicts and settings, read when they are asked for."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from normgrowth.errors import ArtefactError
from normgrowth.io.documents import read_json
from normgrowth.io.tables import read_result
from normgrowth.layout import CLAIMS_JSON, PROVENANCE, TABLES
from normgrowth.study.messages import unknown

FINISHED = "`normgrowth status` says how far the study is"


class Tables(Mapping[str, pd.DataFrame]):
    """The tables of a study by name; each is read, and its digest compared, when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, pd.DataFrame] = {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        """A table.

        Raises:
            ArtefactError: when there is none of this name, or it is damaged.
        """
        if name not in self._read:
            if name not in self._names:
                what = (
                    f"{self._folder}: table"
                    if self._names
                    else f"{self._folder} holds no tables yet, {FINISHED}: table"
                )
                raise ArtefactError(unknown(what, name, self._names))
            self._read[name] = read_result(self._folder, name)
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __repr__(self) -> str:
        return f"Tables({', '.join(self._names)})"

    @property
    def _names(self) -> list[str]:
        return sorted(path.stem for path in self._folder.glob("*.parquet"))


class Results:
    """The results of a study, in `results/STUDY`; what a property gives is read when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tables = Tables(folder / Path(TABLES).name)

    @cached_property
    def claims(self) -> dict[str, Any]:
        """The verdicts on the paper's claims, as `claims.json` holds them.

        Raises:
            ArtefactError: when they are not there yet, or damaged.
        """
        return self._document(Path(CLAIMS_JSON).name)

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """What made the results: models, hashes of inputs, versions, and the study.

        Raises:
            ArtefactError: as `claims` does.
        """
        return self._document(Path(PROVENANCE).name)

    @property
    def config(self) -> dict[str, Any]:
        """The study with all its settings.

        Raises:
            ArtefactError: as `claims` does.
        """
        return self.provenance["study"]

    def __repr__(self) -> str:
        return f"Results({str(self.folder)!r}: {self.tables})"

    def _document(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        if not path.exists():
            raise ArtefactError(f"{path} does not exist yet: {FINISHED}")
        return read_json(path)  # type: ignore[return-value]  # an object, by what writes it


def read_results(folder: str | Path) -> Results:
    """The results of a study.

    Args:
        folder: of its results, `results/STUDY`; the study may be still running.

    Raises:
        ArtefactError: when there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        beside = (
            sorted(path.name for path in folder.parent.iterdir() if path.is_dir()) if folder.parent.is_dir() else []
        )
        raise ArtefactError(unknown("folder of results", str(folder), [str(folder.parent / name) for name in beside]))
    return Results(folder)
