"""Drawing of a figure, and its files in every format; equal tables give equal bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from io import BytesIO
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from normgrowth.figures.style import Style
from normgrowth.io.atomic import whole_or_not_at_all
from normgrowth.io.documents import with_digest
from normgrowth.io.identity import figure_identity
from normgrowth.layout import UNEDITED

# Without these, files would hold the time they were written at.
METADATA: dict[str, dict[str, str | None]] = {
    "pdf": {"CreationDate": None, "Creator": "normgrowth", "Producer": None},
    "svg": {"Date": None, "Creator": "normgrowth"},
    "png": {"Software": "normgrowth"},
}


def draw(name: str, tables: dict[str, pd.DataFrame], style: Style, **chosen: str) -> Figure:
    """Draw figure `name` of this folder.

    Args:
        chosen: further arguments of the figure's own `draw`.

    Raises:
        ArtefactError: when its tables hold nothing to draw.
    """
    module = import_module(f"normgrowth.figures.{name}")
    editors = {editor for frame in tables.values() for editor in frame["editor"].unique()} - {UNEDITED}
    with _only(style):
        return module.draw(tables, style.among(editors), **chosen)


@contextmanager
def _only(style: Style) -> Iterator[None]:
    """Apply the style over matplotlib's defaults, ignoring the user's own settings."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(style.rc)
        yield


def save(figure: Figure, prefix: Path | str, style: Style, study: str = "") -> None:
    """Write `prefix`.pdf, .svg and .png, each whole or not at all; the SVG file says its name and its study.

    Raises:
        ArtefactError: when the disk is full or the place cannot be written.
    """
    with _only(style):
        # Once: with a layout engine matplotlib draws a figure twice for each format, and computes its layout each time.
        if layout := figure.get_layout_engine():
            layout.execute(figure)
        figure.set_layout_engine(None)
        name = figure_identity(Path(prefix).name, study)
        for extension, metadata in (METADATA | {"svg": {**METADATA["svg"], "Identifier": name}}).items():
            # In memory first: where the disk is full, matplotlib's PDF writer fails in more than one way.
            drawn = BytesIO()
            figure.savefig(drawn, format=extension, metadata=metadata)
            # The report embeds SVG files, and checks them.
            write = with_digest if extension == "svg" else whole_or_not_at_all
            with write(Path(f"{prefix}.{extension}")) as partial:
                Path(partial).write_bytes(drawn.getvalue())
