"""A model's configuration, and its place in the Hub's cache: free of heavy imports, for the workflow."""

import json
import os
import re
from pathlib import Path

from normgrowth.errors import ModelError
from normgrowth.sources.checkpoint_files import CONFIG, blocks_in, model_files, tensors_of

LAYER_KEYS = ("num_hidden_layers", "n_layer", "num_layers")
QUANTISATION_KEYS = ("quantization_config", "compression_config")


def read_config(path: Path | str) -> dict:
    """The content of a model's `config.json`.

    Raises:
        ModelError: when the file is missing or no JSON object in UTF-8.
    """
    try:
        return json_object(Path(path))
    except FileNotFoundError:
        raise ModelError(f"{path} does not exist: a model folder is what transformers saves") from None
    except ValueError as error:
        raise ModelError(f"{path} {error}") from None


def json_object(path: Path) -> dict:
    """The JSON object in a file.

    Raises:
        ValueError: when it holds anything else; the message does not name the file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"is not JSON: it is not UTF-8 text ({error.reason} at byte {error.start})") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"is not a JSON object but a {type(content).__name__}: a model folder is what transformers saves"
        )
    return content


def layers_in(path: Path | str) -> int:
    """Number of transformer blocks that a `config.json` states.

    Raises:
        ModelError: when the file is missing or does not state it, or the kind of model cannot be edited.
    """
    config = read_config(path)
    if fault := config_fault(config):
        raise ModelError(f"{path} {fault}")
    layers = stated_layers(config)
    if layers is None:
        raise ModelError(f"{path} holds no number of layers ({', '.join(LAYER_KEYS)})")
    return layers


def stated_layers(config: dict) -> int | None:
    """Number of transformer blocks that a configuration states at its top level; None where it does not."""
    stated = (config.get(key) for key in LAYER_KEYS)
    return next((layers for layers in stated if isinstance(layers, int) and not isinstance(layers, bool)), None)


def config_fault(config: dict) -> str | None:
    """Obstacle to editing a model, as far as its configuration alone tells, in words; None where there is none."""
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        for key in QUANTISATION_KEYS:
            if part.get(key):
                asked = part[key].get("quant_method") if isinstance(part[key], dict) else None
                kind = f" ({asked})" if isinstance(asked, str) else ""
                return (
                    f"asks for quantised weights{kind}, which cannot be edited: give the model as it was before, or "
                    f"dequantise and save it, or take {key} away if the weights are not quantised"
                )
    if config.get("is_encoder_decoder"):
        return "is that of an encoder with a decoder (is_encoder_decoder): editing needs a causal language model"
    layers = stated_layers(config)
    if layers is not None and layers < 1:
        return f"says that the model has {layers} layers: it needs one at least"
    return None


def layers_of_folder(folder: Path | str) -> int:
    """Number of transformer blocks of a model folder, which its `config.json` states and its weights hold.

    Weights that are missing or cannot be read are no error here: the import of the folder names them.

    Raises:
        ModelError: when the configuration does not say, or the two disagree.
    """
    stated = layers_in(Path(folder) / CONFIG)
    try:
        held = blocks_in(tensors_of(model_files(folder)))
    except ModelError:
        return stated
    if fault := layers_fault(stated, held):
        raise ModelError(f"{Path(folder) / CONFIG} {fault}")
    return stated


def layers_fault(stated: int | None, held: int | None) -> str | None:
    """Fault of a configuration that states another number of layers than the weights hold, in words; None if alike."""
    if stated is None or held is None or stated == held:
        return None
    return f"says {stated} layers, but the weights beside it hold {held}: one of them belongs to another model"


def commit_fault(repo: str, revision: str) -> str | None:
    """Fault of a revision that is no full hash of a commit, in words; None where it is one."""
    if re.fullmatch("[0-9a-f]{40}", revision):
        return None
    return (
        "a branch, a tag or a short hash can come to mean other weights; give the full hash of a commit, 40 digits of "
        f"0-9 and a-f: they stand at https://huggingface.co/{repo}/commits/main"
    )


def hub_cache() -> Path:
    """Folder of huggingface_hub's cache, found as that library finds it."""
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    home = os.environ.get("HF_HOME") or os.path.join(caches, "huggingface")
    hub = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    return Path(os.path.expandvars(os.path.expanduser(hub)))


def snapshot_folder(repo: str, revision: str) -> Path:
    """Folder of a repository's files at a commit within the cache."""
    return hub_cache() / f"models--{repo.replace('/', '--')}" / "snapshots" / revision
