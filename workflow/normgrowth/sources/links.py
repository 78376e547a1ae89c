"""Model folders whose files are links to where they are kept."""

from collections.abc import Iterable
from pathlib import Path

from normgrowth.errors import ModelError, NormgrowthError
from normgrowth.io.atomic import whole_or_not_at_all
from normgrowth.io.documents import read_json
from normgrowth.sources.loading import check_model
from normgrowth.sources.manifest import revision_of_files, write_manifest

FIGURES = "figures.json"
OF_THE_WORKFLOW = ("manifest", "figures", "editability")
"""What the workflow writes into a model folder, by the first part of its name."""


def link_model(files: Iterable[Path], out: Path | str, source: dict, what: str) -> None:
    """Make a model folder of links to `files`, with its manifest; `source` says where the model comes from.

    Links rather than copies: weights are large, and the manifest tells when they change. A model that could not be
    loaded is refused now, before any work; `what` names it in the message.

    Raises:
        ModelError: when the files are not those of a model that can be loaded, or the folder holds something that is no
            link and would be lost.
    """
    files = list(files)
    _refuse_what_would_be_lost(Path(out))
    with whole_or_not_at_all(out) as folder:
        folder.mkdir()
        for file in files:
            (folder / file.name).symlink_to(file.resolve())
        check_model(folder, what)
        write_manifest(folder, source)


def _refuse_what_would_be_lost(out: Path) -> None:
    """Refuse to replace a folder that holds more than links and what the workflow wrote itself."""
    for path in sorted(out.iterdir()) if out.is_dir() and not _trained_here(out) else ():
        if not path.is_symlink() and not path.name.startswith(".") and path.name.split(".")[0] not in OF_THE_WORKFLOW:
            raise ModelError(
                f"{out} holds {path.name} itself and no link to it, and would be replaced: delete {out} if the "
                "workflow made it, or else move it away, and run the same again"
            )


def _trained_here(out: Path) -> bool:
    """True where a folder holds a model as the workflow trained it, so that it can be made again."""
    try:
        return read_json(out / FIGURES)["model"] == revision_of_files(out)
    except (NormgrowthError, KeyError, TypeError):
        return False
