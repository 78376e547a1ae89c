"""Write down what made a study's results, once every input is found to be what the tables were made from."""

import argparse
import json
from pathlib import Path

LOCK = "envs/lock.txt"
"""Under this name, wherever the repository is: where it is says nothing of what it holds."""

ROLES = ("facts", "text", "heldout", "contexts", "statistics", "null_spaces", "hypernetwork", "data")
"""Inputs whose hashes tables record, by the name under which they do."""

OF_A_MODEL = ("contexts", "statistics", "null_spaces", "hypernetwork")
"""Inputs that were made from a model and say from which."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--study", required=True, help="the study with all its settings, as JSON")
    parser.add_argument("--models", type=Path, nargs="*", default=[], help="model folders")
    for role in ROLES:
        words = "data of interventions" if role == "data" else role.replace("_", " ")
        parser.add_argument(f"--{role.replace('_', '-')}", type=Path, nargs="*", default=[], help=f"files of {words}")
    parser.add_argument("--lock", type=Path, help="list of the pinned packages")
    parser.add_argument(
        "--figures", type=Path, nargs="*", default=[], help="what trained models reach: JSON files in their folders"
    )
    parser.add_argument("--tables", type=Path, nargs="*", default=[], help="tables that were made from these inputs")
    parser.add_argument("--out", required=True, type=Path, help="JSON file to write")


def run(arguments: argparse.Namespace) -> None:
    """Write settings, hashes of inputs and versions; no times and no places, so that equal work is equal bytes."""
    import platform

    from normgrowth.io.digests import check_beside
    from normgrowth.io.documents import write_json
    from normgrowth.io.provenance import file_sha256, provenance
    from normgrowth.sources.manifest import MANIFEST, revision, verify

    study = json.loads(arguments.study)
    inputs, revisions = {}, {}
    for folder in sorted(arguments.models):
        verify(folder)
        revisions[folder.name] = revision(folder)
        inputs[str(folder / MANIFEST)] = check_beside(folder / MANIFEST)
    hashes: dict[str, dict[str, str]] = {}
    origins: dict[Path, object] = {}
    for role in ROLES:
        paths = sorted(getattr(arguments, role))
        origins |= {path: _model_of(path, role) for path in paths if role in OF_A_MODEL}
        hashes[role] = {str(path): file_sha256(path) if role in OF_A_MODEL else check_beside(path) for path in paths}
        inputs |= hashes[role]
    models = {name: {"revision": found} for name, found in revisions.items()}
    for path in sorted(arguments.figures):
        models[path.parent.name][path.stem] = _figures(path, revisions[path.parent.name])
    for path in arguments.tables:
        _require_made_from(path, study, revisions, hashes)
    _require_of_these_models(origins, revisions)
    if arguments.lock:
        inputs[LOCK] = file_sha256(arguments.lock)
    found = provenance(models=models, study=study, inputs=inputs, python=platform.python_version())
    write_json(arguments.out, found)


def _model_of(path: Path, role: str) -> object:
    """The revision of the model that a file says it was made from.

    Raises:
        ArtefactError: when the file has changed, or holds something else than its role says.
    """
    from normgrowth.editors.settings import HYPERNETWORK, NULL_SPACES, SECOND_MOMENTS
    from normgrowth.io.documents import read_json
    from normgrowth.io.tensors import read_metadata

    kinds = {"statistics": SECOND_MOMENTS, "null_spaces": NULL_SPACES, "hypernetwork": HYPERNETWORK}
    said = read_metadata(path, kinds[role]) if role in kinds else read_json(path)
    return said.get("model") if isinstance(said, dict) else None


def _require_of_these_models(origins: dict[Path, object], revisions: dict[str, str]) -> None:
    """Refuse files that were made from no model at hand.

    Raises:
        ArtefactError: naming the first such file and the remedy.
    """
    from normgrowth.errors import ArtefactError

    for path, of in origins.items():
        if of not in revisions.values():
            raise ArtefactError(
                f"{path} was made from a model of revision {_short(of)}, which is none of "
                f"{', '.join(sorted(revisions))}: delete it and run the workflow again, which makes it anew"
            )


def _figures(path: Path, revision: str) -> object:
    """What a trained model reaches, from a file in its folder.

    Raises:
        ArtefactError: when the file has changed, or says of which model it is and that is another one.
    """
    from normgrowth.errors import ArtefactError
    from normgrowth.io.documents import read_json

    figures = read_json(path)
    of = figures.get("model") if isinstance(figures, dict) else None
    if of != revision:
        raise ArtefactError(
            f"{path} is of another model (revision {str(of)[:12]}...) than the one beside it ({revision[:12]}...): "
            f"delete {path} and run the workflow again, which makes it anew"
        )
    return figures


def _require_made_from(path: Path, study: dict, revisions: dict[str, str], hashes: dict[str, dict[str, str]]) -> None:
    """Compare the hashes that a table records with those of the inputs at hand.

    Raises:
        ArtefactError: when the table is of another study or seed, or was made from other bytes; it names the run and
            the input.
    """
    from normgrowth.errors import ArtefactError
    from normgrowth.io.identity import require
    from normgrowth.io.tables import read_provenance

    said = read_provenance(path)
    require(path, said, {"study": study["study"], "table": path.stem})
    runs = said.get("runs")
    if not isinstance(runs, dict) or not runs:
        raise ArtefactError(f"{path} does not say what it was made from: delete it and run the workflow again")
    for run, made_by in sorted(runs.items()):
        where, model = f"{path}: {run} was made", run.split("/")[0]
        again = f"put the former input back, or delete {path} and {path.parents[1]}/*/{run}* and run the workflow again"
        if made_by.get("model_revision") != revisions.get(model):
            raise ArtefactError(
                f"{where} on a model of revision {_short(made_by.get('model_revision'))}, but {model} is of "
                f"{_short(revisions.get(model))}: {again}"
            )
        if "seed" in study and made_by.get("seed") != study["seed"]:
            raise ArtefactError(f"{where} with seed {made_by.get('seed')}, not {study['seed']}: {again}")
        if not any(made_by.get(name) for name in ("facts", "data", "result_revision")):
            raise ArtefactError(f"{where} from facts that it does not name: {again}")
        if (result := made_by.get("result_revision")) and result not in revisions.values():
            raise ArtefactError(f"{where} with a model of revision {_short(result)}, which is none at hand: {again}")
        for role, files in hashes.items():
            if (used := made_by.get(role)) and used not in files.values():
                there = ", ".join(f"{name} has {_short(digest)}" for name, digest in files.items()) or "none is at hand"
                raise ArtefactError(f"{where} from {role} of SHA-256 {_short(used)}, but {there}: {again}")


def _short(digest: object) -> str:
    return f"{digest[:12]}..." if isinstance(digest, str) else "unknown"
