"""What the study can learn about its inputs before any work: cheaply, at every start of the workflow."""

import json
import os
import re
from pathlib import Path

from normgrowth.config.sections import FactSource, LocalFacts, ModelSource, TrainedModel

ASSETS = "{assets}"
MODEL_FILES = ("config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer*")
MODEL_FILES += ("special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt")
LAYER_KEYS = ("num_hidden_layers", "n_layer", "num_layers")

_SUBJECT = re.compile(rb'"subject"\s*:\s*"((?:[^"\\]|\\.)*)"')


def local_path(path: str, assets: str | None) -> str:
    """A local path of the study as the workflow writes it, whichever way the user spelled it.

    One file has one name here: another spelling would look like another input, and everything would run again.
    """
    return os.path.relpath(os.path.expanduser(path.replace(ASSETS, assets or ASSETS)))


def model_files(folder: str) -> list[str]:
    """The files of a model folder that its import reads."""
    return sorted({str(file) for pattern in MODEL_FILES for file in Path(folder).glob(pattern)})


def task_files(folder: str) -> list[str]:
    """The files of a folder of harness tasks: definitions, the Python and the data beside them."""
    files = (path for path in Path(folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return sorted(map(str, files))


def layers_of(source: ModelSource, assets: str | None) -> int:
    """Number of transformer blocks of a model.

    Raises:
        ValueError: when the folder does not say.
    """
    if isinstance(source, TrainedModel):
        return source.training.layers
    path = Path(local_path(source.path, assets)) / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: a model folder is what transformers saves") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    layers = [config[key] for key in LAYER_KEYS if isinstance(config, dict) and isinstance(config.get(key), int)]
    if not layers:
        raise ValueError(f"{path} holds no number of layers ({', '.join(LAYER_KEYS)})")
    return layers[0]


def weights_megabytes(source: ModelSource, assets: str | None) -> int:
    """Size of a model's weights in float32, roughly."""
    if isinstance(source, TrainedModel):
        training = source.training
        parameters = 12 * training.layers * training.width**2 + 2 * training.vocabulary * training.width
        return 4 * parameters // 2**20
    files = Path(local_path(source.path, assets)).glob("*.safetensors")
    return sum(file.stat().st_size for file in files) // 2**20


def editable_facts(source: FactSource, assets: str | None, unique_subjects: bool) -> int:
    """How many facts an edit order can hold.

    Local files are counted, not read: their records are checked when they are imported.
    """
    if isinstance(source, LocalFacts):
        subjects = _SUBJECT.findall(Path(local_path(source.path, assets)).read_bytes())[: source.limit]
        return len({subject.lower() for subject in subjects} if unique_subjects else subjects)
    return source.settings.subjects if unique_subjects else sum(source.settings.relation_counts())
