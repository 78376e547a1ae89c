"""Comparison of the inputs at hand with the hashes that a study's tables record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from normgrowth.editors.settings import GRADIENT_MOMENTS, HYPERNETWORK, NULL_SPACES, SECOND_MOMENTS
from normgrowth.errors import ArtefactError
from normgrowth.io.digests import check_beside
from normgrowth.io.documents import read_json
from normgrowth.io.identity import require
from normgrowth.io.provenance import file_sha256
from normgrowth.io.tables import read_provenance
from normgrowth.io.tensors import read_metadata
from normgrowth.sources.checkpoint_files import MANIFEST
from normgrowth.sources.manifest import SHOWN, quantisation, revision, verify

KINDS = {
    "statistics": SECOND_MOMENTS,
    "null_spaces": NULL_SPACES,
    "gradient_moments": GRADIENT_MOMENTS,
    "hypernetwork": HYPERNETWORK,
}
"""Kinds of tensor files, by the name under which tables record their hash."""

MADE_FROM_A_MODEL = frozenset({"contexts", *KINDS})
"""Roles of inputs that were made from a model and record its revision."""


@dataclass(frozen=True)
class Models:
    """Model folders whose files match their manifest."""

    revisions: dict[str, str]  # by the folder's name
    manifests: dict[str, str]  # SHA-256 by path
    quantised: dict[str, str]  # how weights were quantised, by the name of those folders where they were


def verified_models(folders: Sequence[Path]) -> Models:
    """The models in these folders, after a comparison of every file with the manifest.

    Raises:
        ModelError: when a file differs, is missing or is left over.
    """
    revisions, manifests, quantised = {}, {}, {}
    for folder in sorted(folders):
        verify(folder)
        revisions[folder.name] = revision(folder)
        manifests[str(folder / MANIFEST)] = check_beside(folder / MANIFEST)
        if note := quantisation(folder):
            quantised[folder.name] = note
    return Models(revisions, manifests, quantised)


@dataclass(frozen=True)
class Inputs:
    """The other inputs of a study."""

    hashes: dict[str, dict[str, str]]  # SHA-256 by path, by the name under which tables record it
    made_from: dict[Path, object]  # revision of the model that a file was made from

    def require_models(self, models: Models) -> None:
        """Refuse files that were made from a model that is not at hand.

        Raises:
            ArtefactError: naming the first such file and the remedy.
        """
        for path, of in self.made_from.items():
            if of not in models.revisions.values():
                raise ArtefactError(
                    f"{path} was made from a model of revision {shortened(of)}, which is none of "
                    f"{', '.join(sorted(models.revisions))}: delete it and run the workflow again, which makes it anew"
                )


def read_inputs(files: Mapping[str, Sequence[Path]]) -> Inputs:
    """The hashes of inputs, and the models that they were made from.

    Args:
        files: by the name under which tables record their hash.

    Raises:
        ArtefactError: naming the first file that has changed or is of another kind than its role.
    """
    hashes: dict[str, dict[str, str]] = {}
    made_from: dict[Path, object] = {}
    for role, paths in files.items():
        of_model = role in MADE_FROM_A_MODEL
        made_from |= {path: _model_of(path, role) for path in sorted(paths) if of_model}
        hashes[role] = {str(path): file_sha256(path) if of_model else check_beside(path) for path in sorted(paths)}
    return Inputs(hashes, made_from)


def quality_of_model(path: Path, expected: str) -> object:
    """Scores that a trained model reaches, from a JSON file in its folder.

    Args:
        expected: revision of the model in that folder.

    Raises:
        ArtefactError: when the file has changed, or is of another model.
    """
    figures = read_json(path)
    of = figures.get("model") if isinstance(figures, dict) else None
    if of != expected:
        raise ArtefactError(
            f"{path} is of another model (revision {shortened(of)}) than the one beside it ({shortened(expected)}): "
            f"delete {path} and run the workflow again, which makes it anew"
        )
    return figures


def require_made_from(path: Path, study: Mapping[str, object], models: Models, inputs: Inputs) -> None:
    """Compare the hashes that a table records with those of the inputs at hand.

    Args:
        path: the table.
        study: the study with all its settings, of which `study` (its name) and `seed` are compared.
        models: those at hand.
        inputs: those at hand.

    Raises:
        ArtefactError: when the table is of another study or seed, or was made from other bytes; it names the run and
            the input.
    """
    said = read_provenance(path)
    require(path, said, {"study": study["study"], "table": path.stem})
    runs = said.get("runs")
    if not isinstance(runs, dict) or not runs:
        raise ArtefactError(f"{path} does not say what it was made from: delete it and run the workflow again")
    for run, made_by in sorted(runs.items()):
        where, model = f"{path}: {run} was made", run.split("/")[0]
        again = f"put the former input back, or delete {path} and {path.parents[1]}/*/{run}* and run the workflow again"
        if made_by.get("model_revision") != models.revisions.get(model):
            raise ArtefactError(
                f"{where} on a model of revision {shortened(made_by.get('model_revision'))}, but {model} is of "
                f"{shortened(models.revisions.get(model))}: {again}"
            )
        if "seed" in study and made_by.get("seed") != study["seed"]:
            raise ArtefactError(f"{where} with seed {made_by.get('seed')}, not {study['seed']}: {again}")
        if not any(made_by.get(name) for name in ("facts", "data", "result_revision")):
            raise ArtefactError(f"{where} from facts that it does not name: {again}")
        if (result := made_by.get("result_revision")) and result not in models.revisions.values():
            raise ArtefactError(f"{where} with a model of revision {shortened(result)}, which is none at hand: {again}")
        for role, files in inputs.hashes.items():
            if (used := made_by.get(role)) and used not in files.values():
                there = ", ".join(f"{name} has {shortened(digest)}" for name, digest in files.items())
                there = there or "none is at hand"
                raise ArtefactError(f"{where} from {role} of SHA-256 {shortened(used)}, but {there}: {again}")


def shortened(digest: object) -> str:
    """The beginning of a hash, as messages show it."""
    return f"{digest[:SHOWN]}..." if isinstance(digest, str) else "unknown"


def _model_of(path: Path, role: str) -> object:
    """The revision of the model in a file's own metadata.

    Raises:
        ArtefactError: when the file has changed, or is of another kind than its role.
    """
    said = read_metadata(path, KINDS[role]) if role in KINDS else read_json(path)
    return said.get("model") if isinstance(said, dict) else None
