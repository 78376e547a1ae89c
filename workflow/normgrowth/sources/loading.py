"""Loading of model folders, which hold what transformers saves and a manifest (`sources.manifest`)."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel

from normgrowth.errors import ModelError
from normgrowth.lm.model import LanguageModel, language_model
from normgrowth.sources.checkpoint_files import model_files, tensors_of
from normgrowth.sources.manifest import verify


def load_model(folder: Path | str, device: str = "cpu", gpus: int = 1) -> LanguageModel:
    """Load a model folder in float32, frozen, without executing code from it; every tensor comes from its files.

    Args:
        gpus: spread the blocks evenly over so many GPUs (by accelerate), where `device` is cuda.

    Raises:
        ModelError: when files are missing, damaged, not those of one model or not those that its manifest names,
            weights are no numbers, the tokenizer does not go with them, the architecture lacks the parts editing needs,
            or there are fewer GPUs.
    """
    from transformers import AutoModelForCausalLM

    from normgrowth.sources.checkpoint_fit import configuration, fit, key_mapping, misfits, said
    from normgrowth.sources.checkpoint_values import check_loaded
    from normgrowth.sources.tokenizer import load_tokenizer

    _quieten()
    several = gpus > 1 and device.startswith("cuda")
    spread = {"device_map": "balanced", "max_memory": _memory_of(gpus)} if several else {}
    files = verify(folder)
    with _about(f"model folder {folder}"):
        config = configuration(folder)
        fitted = fit(config, tensors_of(files))
        _tell(folder, fitted.renamed)
        tokenizer = load_tokenizer(folder, config, _rows(fitted.model))
        try:
            model, told = AutoModelForCausalLM.from_pretrained(
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
        except (OSError, ValueError, TypeError, KeyError, AttributeError, SafetensorError) as error:
            raise ModelError(f"the weights cannot be loaded: {said(error)}") from error
        fault, _ = misfits(told)
        if fault:
            raise ModelError(fault)
        model = model if several else model.to(device)
        check_loaded(model, fitted)
    return language_model(model, tokenizer)


def check_model(folder: Path | str, what: str) -> None:
    """Refuse a model folder that `load_model` would refuse, without loading it; `what` names it in the message.

    Every number of the weights is looked at, once.

    Raises:
        ModelError: as `load_model` does.
    """
    from normgrowth.lm.anatomy import anatomy_of
    from normgrowth.sources.checkpoint_fit import configuration, fit
    from normgrowth.sources.checkpoint_values import check_files
    from normgrowth.sources.tokenizer import load_tokenizer

    _quieten()
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


def _quieten() -> None:
    from transformers.utils import logging

    logging.set_verbosity_error()  # its warnings on long texts do not apply: texts are cut into windows here
    logging.disable_progress_bar()


def _rows(model: PreTrainedModel) -> int:
    return model.get_input_embeddings().weight.shape[0]


def _tell(what: Path | str, renamed: Mapping[str, str]) -> None:
    if renamed:
        old, new = next(iter(renamed.items()))
        print(f"{what}: {len(renamed)} tensors are read by shorter names: {old} as {new}", file=sys.stderr)


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
