"""Damage to files of a study, what may come of it, and the files that a study has."""

import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
from safetensors import safe_open

from normgrowth.io.digests import SUFFIX, beside
from normgrowth.io.documents import read_json, write_json, write_text
from normgrowth.io.tables import read_table_and_provenance, write_table
from normgrowth.io.tensors import KIND, METADATA_KEY, read_tensors, write_tensors
from tests.support import small_models
from tests.support.small_results import CHECKPOINTS, FIGURES, NETWORK, TABLES, Results

UNFINISHED = "unfinished/checkpoint.safetensors"
DAMAGES = ("bit", "bit in metadata", "cut", "empty", "sibling", "sibling alone", "elsewhere", "elsewhere alone")
"""Swaps are with a sibling of the same kind, or with the file of the same name of another study and model, each with
the digest that stands beside or without it."""


class Kind(NamedTuple):
    """A file of a study, one that it may be mistaken for, and the command that reads it."""

    path: Path
    sibling: Path
    consumer: Callable[[Path], list]  # words of the command line, given the folder of outputs
    others_alike: bool = False  # nothing in the file says what it is of: its name alone does


def kinds(made: Results) -> dict[str, Kind]:
    """Every kind of file, by name."""
    at, resources, results = made, made.resources, made.results
    of_world = {part: Kind(at.world(part), resources / f"other/other-{part}", at.training, True)
                for part in ("facts", "heldout", "corpus")}  # fmt: skip
    found = {f"{part} of a world": kind for part, kind in of_world.items()}

    def edits(editor: str, segment: int = 1) -> Callable[[Path], list]:
        return lambda out: at.editing(editor, segment, out / "chain")

    def gathers(out: Path) -> list:
        return at.gathering(out / "moments.safetensors", [0, 1])

    def measures(out: Path) -> list:
        return at.measuring("memit", 4, out / "measured")

    found |= {
        "imported facts": Kind(at.facts, at.few_facts, edits("ft"), True),
        "imported text": Kind(at.text, resources / "heldout.txt", gathers, True),
        "heldout text": Kind(resources / "heldout.txt", at.text, measures, True),
        "contexts": Kind(at.contexts, resources / "contexts-of-2.json", edits("memit")),
        "second moments": Kind(at.moments, resources / "layers-1.safetensors", edits("memit")),
        "moments of gradients": Kind(at.gradients, at.moments, edits("crispedit")),
        "decomposed moments": Kind(
            at.moments, resources / "layers-1.safetensors", lambda out: at.decomposing(out / "n.safetensors")
        ),
        "null spaces": Kind(at.spaces, resources / "null-spaces-1.safetensors", edits("alphaedit")),
        "hypernetwork": Kind(at.network / NETWORK, resources / "malmen" / NETWORK, edits("mend")),
        "followed norms": Kind(
            at.chain("memit") / "segment-1/norms.parquet", at.chain("memit") / "segment-2/norms.parquet",
            edits("scale_only"),
        ),
    }  # fmt: skip
    for name, path in (("sums", resources / "moments.partial"), ("training", resources / UNFINISHED)):
        found[f"unfinished {name}"] = Kind(path, at.moments, _resumes(at, name, path))
    for segment in (1, 2):
        other = at.chain("ft") / f"segment-{segment}" if segment == 1 else at.chain("memit") / "segment-1"
        state = at.chain("memit") / f"segment-{segment}/state.safetensors"
        found[f"state {segment}"] = Kind(state, other / state.name, measures)
        for table in ("norms", "edits", "scores", "timing", "speed"):
            path = at.chain("memit") / f"segment-{segment}/{table}.parquet"
            found[f"{table} {segment}"] = Kind(path, other / path.name, _collects(at, table.replace("timing", "edits")))
    for table in ("scores", "activations", "subspaces", "downstream"):
        step = random.Random(table).choice(CHECKPOINTS[1:])
        path = at.measured("memit", step) / f"{table}.parquet"
        found[f"{table} of a checkpoint"] = Kind(path, at.measured("ft", step) / path.name, _collects(at, table))
    path = at.measured("unedited", 0) / "activations.parquet"
    found["unedited"] = Kind(path, at.measured("ft", 2) / path.name, _collects(at, "activations"))
    single, on = results / "single-edits/m/memit.parquet", results / "interventions/m/on.parquet"
    found["single edits"] = Kind(single, single.with_name("ft.parquet"), _collects(at, "single_edits"))
    found["interventions"] = Kind(on, on.with_name("off.parquet"), _collects(at, "interventions"))
    for number, table in enumerate(TABLES):
        path, other = results / f"tables/{table}.parquet", results / f"tables/{TABLES[number - 1]}.parquet"
        if table != "speed":
            found[f"table {table}"] = Kind(path, other, lambda out: at.judging(out))
    found["drawn table"] = Kind(
        results / "tables/norms.parquet",
        results / "tables/edits.parquet",
        lambda out: at.drawing(FIGURES[0], out / "f"),
    )
    for figure, other in (FIGURES, FIGURES[::-1]):
        found[figure] = Kind(results / f"figures/{figure}.svg", results / f"figures/{other}.svg", at.reporting)
    for name, other in (("claims", "provenance"), ("provenance", "claims")):
        found[name] = Kind(results / f"{name}.json", results / f"{other}.json", at.reporting)
    for name in ("config.json", "tokenizer.json", "model.safetensors", "manifest.json"):
        kind = Kind(at.model / name, at.other_model / name, lambda out: at.sampling(out / "contexts.json"))
        found[f"model's {name}"] = kind
    editability = at.model / "editability.json"
    found["editability"] = Kind(editability, at.other_model / editability.name, at.noting)
    noted = {"facts": (at.facts, at.few_facts, True), "text": (at.text, resources / "heldout.txt", True)}
    noted |= {"contexts": (at.contexts, resources / "contexts-of-2.json"), "moments": (at.moments, at.spaces)}
    for name, given in noted.items():
        found[f"{name} as provenance"] = Kind(*given[:2], at.noting, *given[2:])
    sidecars = {
        f"digest of {name}": kind._replace(path=beside(kind.path), sibling=beside(kind.sibling), others_alike=False)
        for name, kind in found.items()
        if beside(kind.path).exists()
    }
    return found | sidecars


def _resumes(made: Results, name: str, left: Path) -> Callable[[Path], list]:
    """Go on with a copy of what a killed job left."""

    def words(out: Path) -> list:
        copy = out / left.name if name == "sums" else out / "network" / left.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(left, copy)
        if name == "sums":
            return made.gathering(out / "moments.safetensors", [0, 1])
        return made.training_a_network(out / "network")

    return words


def _collects(made: Results, table: str) -> Callable[[Path], list]:
    return lambda out: made.collecting(table, out / "table.parquet")


def as_another_study(made: Results, folder: Path) -> Results:
    """Copies of a study's files that say they are of another study and model, in a folder of their own."""
    other = Results(folder, "another", made.seed)
    shutil.copytree(made.folder, folder)
    small_models.save("gpt2", other.model, seed=9)
    for path in sorted(folder.rglob("*.*")):
        if path.suffix == ".parquet":
            frame, said = read_table_and_provenance(path)
            schema = pq.read_schema(path).remove_metadata()
            write_table(path, frame.assign(study="another"), schema, _of_another(said))
        elif path.suffix == ".safetensors" and path.name != "model.safetensors":
            tensors, said = read_tensors(path)
            kind = _header(path)[KIND]
            write_tensors(path, tensors, _of_another(said), kind)
        elif path.suffix == ".svg":
            write_text(path, path.read_text().replace(f" of {made.study}</dc:", " of another</dc:"))
        elif path.suffix == ".json" and (
            path.parent == other.results or path.stem.split("-")[0] in ("contexts", "editability")
        ):
            write_json(path, _of_another(read_json(path)))
    return other


def _of_another(said: dict) -> dict:
    """Metadata with the names of another study and model."""
    changes = {"model": "f" * 64, "model_revision": "f" * 64, "study": "another", "studies": ["another"]}
    changed = {name: changes.get(name, value) for name, value in said.items()}
    if isinstance(said.get("study"), dict):
        changed["study"] = {**said["study"], "study": "another"}
    if "order" in said:  # of a run: the model is told by its name there
        changed["model"] = said["model"]
    return changed


def _header(path: Path) -> dict:
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()[METADATA_KEY])


@dataclass
class Damaged:
    """Damage done to a file of a study, which can be undone."""

    named: list[Path]  # files that a message may name
    before: dict[Path, tuple[bytes, tuple[int, int]]]

    def undo(self) -> None:
        """Put every file back, with its times."""
        for path, (content, times) in self.before.items():
            path.with_name(f"{path.name}.damaged").unlink(missing_ok=True)
            path.write_bytes(content)
            _set_times(path, times)


def damage(kind: Kind, how: str, made: Results, other: Results, draw: random.Random) -> Damaged | None:
    """Damage a file, its times left as they were; None where this damage means nothing for it."""
    twin = other.folder / kind.path.relative_to(made.folder)
    partner = kind.sibling if how.startswith("sibling") else twin
    swap = how.split()[0] in ("sibling", "elsewhere")
    if swap and (partner.read_bytes() == kind.path.read_bytes() or (how == "elsewhere" and kind.others_alike)):
        return None
    involved = [kind.path, partner] if swap else [kind.path]
    if swap and not how.endswith("alone") and beside(kind.path).exists():
        involved += [beside(kind.path), beside(partner)]
    # A reader moves a file aside where only its digest was damaged.
    kept = {path.with_suffix("") if path.suffix == SUFFIX else path for path in involved} | set(involved)
    before = {path: (path.read_bytes(), _times(path)) for path in kept}
    if swap:
        for one, two in zip(involved[::2], involved[1::2], strict=True):
            one.write_bytes(before[two][0])
            two.write_bytes(before[one][0])
    else:
        kind.path.write_bytes(_changed(before[kind.path][0], how, kind.path.suffix, draw))
    for path in involved:
        _set_times(path, before[path][1])
    return Damaged(involved, before)


def _changed(content: bytes, how: str, suffix: str, draw: random.Random) -> bytes:
    if how == "empty":
        return b""
    if how == "cut":
        return content[: draw.randrange(1, len(content))]
    start, end = _metadata(content, suffix) if how == "bit in metadata" else (0, len(content))
    changed = bytearray(content)
    changed[draw.randrange(start, end)] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _metadata(content: bytes, suffix: str) -> tuple[int, int]:
    """The bytes of a header or footer; of text, its first line."""
    if suffix == ".parquet":
        return len(content) - 8 - int.from_bytes(content[-8:-4], "little"), len(content)
    if suffix == ".safetensors":
        return 0, 8 + int.from_bytes(content[:8], "little")
    return 0, content.find(b"\n") + 1 or len(content)


def _times(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_atime_ns, state.st_mtime_ns


def _set_times(path: Path, times: tuple[int, int]) -> None:
    os.utime(path, ns=times)


def outputs(folder: Path) -> dict[str, bytes]:
    """The bytes of what a command wrote, but those that hold times."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if path.name not in ("timing.parquet", "speed.parquet") and path.suffix != ".damaged"
    }


def told(errors: str) -> list[str]:
    """The lines by which a command ended."""
    return [line for line in re.split(r"[\r\n]+", errors) if line.startswith("normgrowth ")]


def every(made: Results) -> Iterator[tuple[str, str]]:
    """Each kind with each damage."""
    for name in kinds(made):
        for how in DAMAGES:
            yield name, how
