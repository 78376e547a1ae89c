"""Files of a checkpoint: those of a folder that are loaded, and the tensors in their headers.

Only names, links and headers are read, without torch: cheap enough to do before any work.
"""

import json
import re
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open

from normgrowth.errors import ModelError

CONFIG = "config.json"
MANIFEST = "manifest.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
"""Files that a tokenizer is loaded from: one of them at least."""

TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.model"),
    *("vocab.json", "merges.txt", "added_tokens.json"),
)
SMALL_FILES = (CONFIG, "generation_config.json", INDEX, *TOKENIZER_FILES)
"""Files that loading reads beside the weights, as far as they are there."""

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_FILES = (ADAPTER_CONFIG, "adapter_model.safetensors", "adapter_model.bin")
PICKLED = (".bin", ".pt", ".pth", ".ckpt")

MERGE = "merge it into its model (peft: merge_and_unload, then save_pretrained) and give the merged model"

WRAPPERS = ("_orig_mod", "module", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Parts that torch.compile, distributed training and activation checkpointing insert into tensors' names."""

_SHARD = re.compile(r".*-\d+-of-\d+\.safetensors")
_INDEX_OF_BLOCK = re.compile(r"(?:^|\.)(\d+)\.")


class Tensor(NamedTuple):
    """File, type and shape of a tensor, as the file's header says."""

    file: Path
    dtype: str  # as safetensors names it: F32, BF16, I8, ...
    shape: tuple[int, ...]


def model_files(folder: Path | str) -> list[Path]:
    """The files of a model folder that loading reads: configuration, safetensors and tokenizer, sorted.

    Raises:
        ModelError: when some are missing, lead nowhere or contradict each other, or an adapter is among them.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelError(
            f"model folder {folder} is a file: name the folder that transformers saved the model in"
            if folder.exists()
            else f"model folder {folder} does not exist"
        )
    _refuse_broken_links(folder)
    names = {path.name for path in folder.iterdir() if path.is_file()}
    if fault := adapter_fault(names, folder / ADAPTER_CONFIG):
        raise ModelError(f"model folder {folder} {fault}")
    if missing := _missing_parts(names):
        raise ModelError(f"model folder {folder} lacks {', '.join(missing)}")
    weights = _weights(folder, names)
    return sorted(folder / name for name in loaded_files(names, weights))


def loaded_files(names: Container[str], weights: Iterable[str]) -> list[str]:
    """Files that loading reads, of a folder with these file names and these weights."""
    return [*(name for name in SMALL_FILES if name in names), *weights]


def has_tokenizer(names: Iterable[str]) -> bool:
    """Test for file names among which is one that a tokenizer is loaded from."""
    return not set(TOKENIZERS).isdisjoint(names)


def files_there(folder: Path | str) -> list[Path]:
    """The files of a folder that `model_files` looks at, as far as they are there."""
    there = sorted(Path(folder).glob("*"))
    known = (*SMALL_FILES, *ADAPTER_FILES)
    return [path for path in there if path.is_file() and (path.name in known or path.suffix == ".safetensors")]


def shards_of(index: Path) -> list[str]:
    """The files that an index of weights names, sorted.

    Raises:
        ModelError: when it is no index, or names something that is no safetensors file beside it.
    """
    names = sorted(set(_places(index).values()))
    if wrong := [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]:
        raise ModelError(f"{index} names {wrong[0]!r}, which is no safetensors file beside it")
    return names


def tensors_of(files: Iterable[Path]) -> dict[str, Tensor]:
    """The tensors of a model's files by name, from the headers of its safetensors; an index is held against them.

    Raises:
        ModelError: when a header cannot be read, a tensor stands in two files, or the index says something else.
    """
    files = list(files)
    found: dict[str, Tensor] = {}
    for file in (file for file in files if file.suffix == ".safetensors"):
        for name, tensor in _header(file).items():
            if name in found:
                raise ModelError(
                    f"{name} stands in {found[name].file.name} and in {file.name}: take the one away that is left over"
                )
            found[name] = tensor
    for index in (file for file in files if file.name == INDEX):
        places = _places(index)
        lost = sorted(name for name, place in places.items() if name not in found or found[name].file.name != place)
        if lost:
            raise ModelError(f"{INDEX} places {listed(lost)} where the files do not hold it: save the model again")
        if beyond := sorted(set(found) - set(places)):
            raise ModelError(f"{INDEX} does not name {listed(beyond)}, which its files hold: save the model again")
    return found


def blocks_in(names: Iterable[str]) -> int | None:
    """Number of transformer blocks that tensors belong to, by their names; None where names hold no numbers."""
    blocks: dict[str, set[int]] = {}
    for name in map(unwrapped, names):
        if match := _INDEX_OF_BLOCK.search(name):
            blocks.setdefault(name[: match.start()], set()).add(int(match.group(1)))
    return max(map(len, blocks.values()), default=None)


def unwrapped(name: str) -> str:
    """A tensor's name without the parts that wrappers put into it."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def adapter_fault(names: Iterable[str], config: Path | None = None) -> str | None:
    """Fault of a folder of these file names that holds an adapter, in words; None where it holds none."""
    names = set(names)
    adapters = [name for name in ADAPTER_FILES if name in names]
    if not adapters:
        return None
    if CONFIG in names:
        return (
            f"holds an adapter ({adapters[0]}) beside a model, which would be left out: {MERGE}, or take the adapter's "
            "files away if the model itself is meant"
        )
    return f"holds an adapter{_base_of(config)}, not a model: {MERGE}"


def listed(names: Iterable[object], most: int = 3) -> str:
    """The first names, and how many more there are, in words."""
    texts = list(map(str, names))
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def _missing_parts(names: set[str]) -> list[str]:
    missing = [] if CONFIG in names else [CONFIG]
    if not names & {WEIGHTS, INDEX}:
        shards = sorted(name for name in names if _SHARD.fullmatch(name))
        others = sorted(name for name in names if name.endswith((".safetensors", *PICKLED)))
        if shards:
            missing.append(f"{INDEX}, which says what its shards hold ({listed(shards)})")
        elif others:
            missing.append(f"weights ({WEIGHTS}; {listed(others)} is not read: save the model by save_pretrained)")
        else:
            missing.append("weights (*.safetensors)")
    return missing + ([] if has_tokenizer(names) else [f"a tokenizer ({', '.join(TOKENIZERS)})"])


def _weights(folder: Path, names: set[str]) -> list[str]:
    """The safetensors that loading reads: one file, or the shards of an index."""
    shards = {name for name in names if _SHARD.fullmatch(name)}
    if INDEX not in names:
        if shards:
            raise ModelError(
                f"model folder {folder} holds {WEIGHTS} and shards ({listed(sorted(shards))}): take away what is left "
                "over"
            )
        return [WEIGHTS]
    wanted = shards_of(folder / INDEX)
    if absent := [name for name in wanted if name not in names]:
        raise ModelError(f"model folder {folder} lacks {listed(absent)}, which {INDEX} names")
    if beyond := sorted((shards | ({WEIGHTS} & names)) - set(wanted)):
        raise ModelError(
            f"model folder {folder} holds {listed(beyond)}, which {INDEX} does not name: take away what is left over"
        )
    return wanted


def _places(index: Path) -> Mapping[str, str]:
    """File of each tensor, by an index of weights.

    Raises:
        ModelError: when the file is no such index.
    """
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        if not places or not all(isinstance(place, str) for place in places.values()):
            raise TypeError
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise ModelError(f"{index} is no index of weights") from error
    return places


def _header(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name.

    Raises:
        ModelError: when the header cannot be read.
    """
    try:
        with safe_open(file, framework="np") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            return {n: Tensor(file, piece.get_dtype(), tuple(piece.get_shape())) for n, piece in slices.items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{file.name} cannot be read: it is damaged, cut or no safetensors file ({error})") from error


def _refuse_broken_links(folder: Path) -> None:
    """Refuse a folder of links whose files have moved since it was made."""
    broken = [path for path in sorted(folder.iterdir()) if path.is_symlink() and not path.exists()]
    broken = [path for path in broken if path.name in SMALL_FILES or path.suffix == ".safetensors"]
    if broken:
        raise ModelError(
            f"model folder {folder} links {listed(path.name for path in broken)} to {broken[0].readlink().parent}, "
            f"which was moved or deleted: put it back, or {again(folder)}; what was made from the model stays"
        )


def again(folder: Path | str, changed: Path | None = None) -> str:
    """Instruction, for a message, to make a model folder again.

    Args:
        changed: the file whose bytes have changed; None for another fault.
    """
    folder = Path(folder)
    candidates = (folder / CONFIG, *folder.glob("*"))
    link = next((path for path in candidates if path.is_symlink()), None)
    if link is None:
        return f"delete {folder} and run the workflow again, which makes the model anew"
    try:
        source = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["source"]
        where = f"--repo {source['repo']} --revision {source['revision']}"
        first = f"delete {changed.resolve()}, the Hub's cache of it, and " if changed else ""
        return f"{first}fetch it again by `normgrowth fetch-model {where} --out {folder}`"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    if changed:
        return (
            "put the former file back, or import the model as it is now by `normgrowth import-model --path "
            f"{link.readlink().parent} --out {folder}`, and the workflow makes anew what was made from it"
        )
    return f"import it from the FOLDER where it is now by `normgrowth import-model --path FOLDER --out {folder}`"


def _base_of(config: Path | None) -> str:
    """The end of a message that names the model of an adapter; empty where that is not known."""
    if config is None:
        return ""
    try:
        base = json.loads(config.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    return f" of {base}" if isinstance(base, str) else ""
