"""Model folders: what is in them, and loading from them.

A model folder holds what transformers saves, and `manifest.json` with the hash of each file. The manifest is what the
workflow depends on: it is small, and equal files make equal manifests.
"""

import hashlib
import json
from functools import cache
from pathlib import Path

import torch

from normgrowth.artefacts.atomic import write_json
from normgrowth.artefacts.provenance import file_sha256
from normgrowth.errors import ModelError
from normgrowth.language_model import LanguageModel, language_model

MANIFEST = "manifest.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.model")
TOKENIZER_FILES += ("vocab.json", "merges.txt", "added_tokens.json")
WEIGHTS = "*.safetensors"


def model_files(folder: Path | str) -> list[Path]:
    """The files of a model folder that loading needs, safetensors only.

    Raises:
        ModelError: when configuration, weights or tokenizer are missing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelError(f"model folder {folder} does not exist")
    names = {"config.json", "generation_config.json", "model.safetensors.index.json", *TOKENIZER_FILES}
    files = sorted(p for p in folder.iterdir() if p.name in names or p.match(WEIGHTS))
    present = {p.name for p in files}
    missing = [
        what
        for what, there in (
            ("config.json", "config.json" in present),
            ("weights (*.safetensors)", any(p.match(WEIGHTS) for p in files)),
            ("a tokenizer", bool(present & {"tokenizer.json", "tokenizer.model", "vocab.json"})),
        )
        if not there
    ]
    if missing:
        raise ModelError(f"model folder {folder} lacks {', '.join(missing)}")
    return files


def write_manifest(folder: Path | str, source: dict) -> None:
    """Write the manifest of a complete model folder; `source` says where the model comes from."""
    folder = Path(folder)
    files = {p.name: file_sha256(p) for p in model_files(folder)}
    write_json(folder / MANIFEST, {"source": source, "files": files})


@cache
def read_manifest(folder: Path | str) -> dict:
    """The manifest of a model folder.

    Raises:
        ModelError: when there is none.
    """
    path = Path(folder) / MANIFEST
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ModelError(f"{path} does not exist; the workflow makes it") from error


def revision(folder: Path | str) -> str:
    """Hash over the weights, configuration and tokenizer of a model: two models are the same if theirs agree."""
    files = read_manifest(folder)["files"]
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def load_model(folder: Path | str, device: str = "cpu", gpus: int = 1) -> LanguageModel:
    """Load a model folder in float32, frozen, without executing code from it.

    Args:
        gpus: spread the blocks evenly over so many GPUs (by accelerate), where `device` is cuda.

    Raises:
        ModelError: when files are missing, damaged or of an architecture without the parts editing needs, or there are
            fewer GPUs.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()  # its warnings on long texts do not apply: texts are cut into windows here
    logging.disable_progress_bar()
    model_files(folder)
    several = gpus > 1 and device.startswith("cuda")
    spread = {"device_map": "balanced", "max_memory": _memory_of(gpus)} if several else {}
    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=torch.float32, local_files_only=True, use_safetensors=True, **spread
        )
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"model folder {folder} cannot be loaded: {' '.join(str(error).split())}") from error
    return language_model(model if several else model.to(device), tokenizer)


def _memory_of(gpus: int) -> dict[int, int]:
    """Bytes of the first GPUs."""
    there = torch.cuda.device_count()
    if gpus > there:
        raise ModelError(f"{gpus} GPUs were asked for, and torch sees {there}: set gpus to no more")
    return {number: torch.cuda.get_device_properties(number).total_memory for number in range(gpus)}


def pick_device(wanted: str) -> str:
    """`auto` becomes cuda where there is one, and cpu elsewhere.

    Raises:
        ModelError: when cuda is asked for and there is none.
    """
    there = torch.cuda.is_available()
    if wanted == "auto":
        return "cuda" if there else "cpu"
    if wanted.startswith("cuda") and not there:
        raise ModelError("device cuda was asked for, and torch sees none: set device to cpu or auto")
    return wanted
