"""Model folders whose files are links to where they are kept."""

from collections.abc import Iterable
from pathlib import Path

from normgrowth.artefacts.atomic import whole_or_not_at_all
from normgrowth.assets.manifest import write_manifest
from normgrowth.assets.models import check_model


def link_model(files: Iterable[Path], out: Path | str, source: dict, what: str) -> None:
    """Make a model folder of links to `files`, with its manifest; `source` says where the model comes from.

    Links rather than copies: weights are large, and the manifest tells when they change. A model that could not be
    loaded is refused now, before any work; `what` names it in the message.

    Raises:
        ModelError: when the files are not those of a model that can be loaded.
    """
    with whole_or_not_at_all(out) as folder:
        folder.mkdir()
        for file in files:
            (folder / file.name).symlink_to(file.resolve())
        check_model(folder, what)
        write_manifest(folder, source)
