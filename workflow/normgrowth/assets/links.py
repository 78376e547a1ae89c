"""Model folders whose files are links to where they are kept."""

from collections.abc import Iterable
from pathlib import Path

from normgrowth.artefacts.atomic import whole_or_not_at_all
from normgrowth.assets.models import write_manifest


def link_model(files: Iterable[Path], out: Path | str, source: dict) -> None:
    """Make a model folder of links to `files`, with its manifest; `source` says where the model comes from.

    Links rather than copies: weights are large, and the manifest tells when they change.

    Raises:
        ModelError: when files that loading needs are not among them.
    """
    with whole_or_not_at_all(out) as folder:
        folder.mkdir()
        for file in files:
            (folder / file.name).symlink_to(file.resolve())
        write_manifest(folder, source)
