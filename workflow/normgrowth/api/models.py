"""Models to edit: loading them, and letting them go on with a prompt."""

import re
import sys
from pathlib import Path
from typing import Literal

import torch

from normgrowth.errors import ModelError
from normgrowth.jobs.on_model import OnModel
from normgrowth.lm.completion import completion
from normgrowth.lm.model import LanguageModel
from normgrowth.sources.hub import fetch_model, newest_commit

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def load(
    model: str | Path,
    revision: str | None = None,
    *,
    device: str = "auto",
    gpus: int = 1,
    precision: Literal["float32", "bfloat16"] = "float32",
    threads: int | None = None,
) -> LanguageModel:
    """The language model of a folder or of the Hugging Face Hub, in float32, ready to be edited and measured.

    Torch is set up for repeatable results, as in every command: the same inputs give the same bits.

    Args:
        model: folder as transformers saves it, a study's model or one made from a GGUF file among them; or a name on
            the Hub, `owner/name`, whose files are fetched where the Hub's cache lacks them.
        revision: full hash of a commit on the Hub; the newest one where it is left out, which is said.
        device: `auto`, `cpu` or `cuda`.
        gpus: GPUs to spread the model over, where the device is cuda.
        precision: of matrix products in forward passes; weights and their changes are float32 always.
        threads: CPU threads; those that torch has where it is left out.

    Raises:
        ModelError: when there is no such model, or it cannot be loaded or edited.
    """
    folder, name = _folder_of(model, revision)
    threads = torch.get_num_threads() if threads is None else threads
    lm = OnModel(model=folder, device=device, gpus=gpus, precision=precision, threads=threads).load()
    lm.model.name_or_path = name  # presets know published models by it
    return lm


def _folder_of(model: str | Path, revision: str | None) -> tuple[Path, str]:
    """The folder with a model's files, fetched where it is of the Hub, and the model's name."""
    path = Path(model).expanduser()
    if path.is_dir():
        if revision is not None:
            raise ModelError(f"{model} is a folder, and revision is for models of the Hub: leave it out")
        return path, path.resolve().name
    if path.suffix == ".gguf":
        raise ModelError(f"{model} is a GGUF file: `normgrowth import-gguf --help` makes a model folder of it")
    if isinstance(model, Path) or not _HUB_NAME.fullmatch(model) or path.exists():
        raise ModelError(f"{model} is neither a model folder here nor a name on the Hub (owner/name)")
    if revision is None:
        revision = newest_commit(model)
        print(f"{model}: its newest commit; revision={revision!r} takes the same one again", file=sys.stderr)
    return fetch_model(model, revision)[0].parent, model


def name_of(lm: LanguageModel) -> str:
    """The name of a model's folder or repository, by which presets know published models; empty where it has none."""
    return Path(str(lm.model.name_or_path or "")).name


def require_loaded(lm: object) -> LanguageModel:
    """The language model, if it is one.

    Raises:
        ModelError: naming what it is instead.
    """
    if not isinstance(lm, LanguageModel):
        raise ModelError(f"lm is {type(lm).__name__}, not what normgrowth.load gives: load the model by it")
    return lm


def complete(lm: LanguageModel, prompt: str, tokens: int = 20) -> str:
    """What the model goes on with behind a prompt: the most probable tokens, without special ones.

    Raises:
        ModelError: when prompt and continuation are longer than the model's context.
    """
    return completion(require_loaded(lm), prompt, tokens)
