"""What a model's configuration says of it, and where the Hub's cache keeps it: cheap to ask at every start."""

import json
import os
import re
from pathlib import Path

LAYER_KEYS = ("num_hidden_layers", "n_layer", "num_layers")


def layers_in(path: Path | str) -> int:
    """Number of transformer blocks that a `config.json` states.

    Raises:
        ValueError: when the file is missing, or does not say.
    """
    try:
        config = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: a model folder is what transformers saves") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    layers = [config[key] for key in LAYER_KEYS if isinstance(config, dict) and isinstance(config.get(key), int)]
    if not layers:
        raise ValueError(f"{path} holds no number of layers ({', '.join(LAYER_KEYS)})")
    return layers[0]


def commit_fault(repo: str, revision: str) -> str | None:
    """What is wrong with a revision that is no full hash of a commit."""
    if re.fullmatch("[0-9a-f]{40}", revision):
        return None
    return (
        "a branch, a tag or a short hash can come to mean other weights; give the full hash of a commit, 40 digits of "
        f"0-9 and a-f: they stand at https://huggingface.co/{repo}/commits/main"
    )


def hub_cache() -> Path:
    """The cache of huggingface_hub, found as that library finds it."""
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    home = os.environ.get("HF_HOME") or os.path.join(caches, "huggingface")
    hub = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    return Path(os.path.expandvars(os.path.expanduser(hub)))


def snapshot_folder(repo: str, revision: str) -> Path:
    """Where the cache keeps a repository's files at a commit."""
    return hub_cache() / f"models--{repo.replace('/', '--')}" / "snapshots" / revision
