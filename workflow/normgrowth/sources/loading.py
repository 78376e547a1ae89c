"""Model folders, which hold what transformers saves and a manifest (`sources.manifest`): loading, checking, linking."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from normgrowth.errors import ModelError, NormgrowthError
from normgrowth.io.atomic import whole_or_not_at_all
from normgrowth.io.documents import read_json
from normgrowth.lm.anatomy import anatomy_of, weight_of
from normgrowth.lm.model import LanguageModel, language_model
from normgrowth.sources.checkpoint_files import model_files, tensors_of
from normgrowth.sources.checkpoint_fit import configuration, fit, key_mapping, misfits, said
from normgrowth.sources.checkpoint_values import check_files, check_loaded
from normgrowth.sources.manifest import revision_of_files, verify, write_manifest
from normgrowth.sources.tokenizer import load_tokenizer

FIGURES = "figures.json"
"""File of a trained model's folder: its settings, what training reached, and the model's revision."""

ORIGIN = "origin.json"
"""File of the folder of a model that was a GGUF file: the model's revision, and how many tensors were of each type."""

WRITTEN_BY_WORKFLOW = ("manifest", "figures", "editability", "origin")
"""Files that the workflow writes into a model folder, by the first part of their names."""


def load_model(folder: Path | str, device: str = "cpu", gpus: int = 1) -> LanguageModel:
    """Load a model folder in float32, frozen, without executing code from it; every tensor comes from its files.

    Args:
        gpus: number of GPUs to spread the blocks over evenly (by accelerate), where `device` is cuda.

    Raises:
        ModelError: when files are missing, damaged, not those of one model or not those that its manifest names,
            weights are no numbers, the tokenizer does not go with them, the architecture lacks the parts editing needs,
            or there are fewer GPUs.
    """
    quieten()
    several = gpus > 1 and device.startswith("cuda")
    spread: dict[str, Any] = {"device_map": "balanced", "max_memory": _memory_of(gpus)} if several else {}
    files = verify(folder)
    with _about(f"model folder {folder}"):
        config = configuration(folder)
        fitted = fit(config, tensors_of(files))
        _tell(folder, fitted.renamed)
        tokenizer = load_tokenizer(folder, config, _rows(fitted.model))
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(  # typed without the loading info
                str(folder),
                config=config,
                dtype=torch.float32,
                key_mapping=key_mapping(fitted.renamed) or None,
                local_files_only=True,
                output_loading_info=True,
                trust_remote_code=False,
                use_safetensors=True,
                **spread,
            )
            placed, told = loaded
        except (OSError, ValueError, TypeError, KeyError, AttributeError, SafetensorError) as error:
            raise ModelError(f"the weights cannot be loaded: {said(error)}") from error
        if misfit := misfits(told):
            raise ModelError(misfit.fault)
        model: PreTrainedModel = placed if several else placed.to(device)
        check_loaded(model, fitted)
    return language_model(model, tokenizer)


def check_model(folder: Path | str, what: str) -> None:
    """Refuse a model folder that `load_model` would refuse, without loading it; `what` names it in the message.

    Every number of the weights is checked once.

    Raises:
        ModelError: as `load_model` does.
    """
    quieten()
    files = model_files(folder)
    with _about(what):
        config, tensors = configuration(folder), tensors_of(files)
        fitted = fit(config, tensors)
        _tell(what, fitted.renamed)
        anatomy_of(fitted.model)
        load_tokenizer(folder, config, _rows(fitted.model))
        check_files(tensors, fitted)


@contextmanager
def _about(what: str) -> Iterator[None]:
    """Name the model in errors that name its files."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{what} cannot be loaded: {error}") from error


def quieten() -> None:
    """Keep transformers from writing warnings and bars."""
    logging.set_verbosity_error()  # its warnings on long texts do not apply: texts are cut into windows here
    logging.disable_progress_bar()


def _rows(model: PreTrainedModel) -> int:
    """Number of rows of a model's embedding."""
    return weight_of(model.get_input_embeddings()).shape[0]


def _tell(what: Path | str, renamed: Mapping[str, str]) -> None:
    if renamed:
        old, new = next(iter(renamed.items()))
        print(f"{what}: {len(renamed)} tensors are read by shorter names: {old} as {new}", file=sys.stderr)


def _memory_of(gpus: int) -> dict[int, int]:
    """Memory of the first GPUs, in bytes by number.

    Raises:
        ModelError: when there are fewer.
    """
    there = torch.cuda.device_count()
    if gpus > there:
        raise ModelError(f"{gpus} GPUs were asked for, and torch sees {there}: set gpus to no more")
    return {number: torch.cuda.get_device_properties(number).total_memory for number in range(gpus)}


def link_model(files: Iterable[Path], out: Path | str, source: dict, what: str) -> None:
    """Make a model folder of links to `files`, with its manifest.

    Links rather than copies: weights are large, and the manifest tells when they change. A model that could not be
    loaded is refused now, before any work.

    Args:
        source: where the model comes from, for the manifest.
        what: name of the model in messages.

    Raises:
        ModelError: when the files are not those of a model that can be loaded, or the folder holds something that is no
            link and would be lost.
    """
    files = list(files)
    refuse_what_would_be_lost(Path(out))
    with whole_or_not_at_all(out) as folder:
        folder.mkdir()
        for file in files:
            (folder / file.name).symlink_to(file.resolve())
        check_model(folder, what)
        write_manifest(folder, source)


def refuse_what_would_be_lost(out: Path) -> None:
    """Refuse to replace a folder that holds more than links and the workflow's own files.

    Raises:
        ModelError: naming the file, and the remedy.
    """
    for path in sorted(out.iterdir()) if out.is_dir() and not _made_here(out) else ():
        ours = path.name.startswith(".") or path.name.split(".")[0] in WRITTEN_BY_WORKFLOW
        if not path.is_symlink() and not ours:
            raise ModelError(
                f"{out} holds {path.name} itself and no link to it, and would be replaced: delete {out} if the "
                "workflow made it, or else move it away, and run the same again"
            )


def _made_here(out: Path) -> bool:
    """Test for a folder with a model that the workflow trained, or turned from a GGUF file, and can make again."""
    for name in (FIGURES, ORIGIN):
        try:
            made = read_json(out / name)
            if isinstance(made, dict) and "model" in made and made["model"] == revision_of_files(out):
                return True
        except NormgrowthError:
            pass
    return False


def pick_device(wanted: str) -> str:
    """Device for the setting `device`: `auto` is cuda where there is one, and cpu elsewhere.

    Raises:
        ModelError: when cuda is asked for and there is none.
    """
    there = torch.cuda.is_available()
    if wanted == "auto":
        return "cuda" if there else "cpu"
    if wanted.startswith("cuda") and not there:
        raise ModelError("device cuda was asked for, and torch sees none: set device to cpu or auto")
    return wanted
