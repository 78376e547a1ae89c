"""Check that a checkpoint is the model that its configuration describes: every tensor of the model is in the files.

transformers fills missing tensors with random numbers and ignores unknown ones. Here the model is made without memory
(on torch's meta device) and loaded from the headers alone, by transformers' own rules of names, so that missing and
superfluous tensors are known before weights are read.
"""

import json
import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypedDict

import torch
from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, PreTrainedConfig, PreTrainedModel

from normgrowth.errors import ModelError
from normgrowth.sources.checkpoint_files import CONFIG, MERGE, Tensor, blocks_in, listed, unwrapped
from normgrowth.sources.model_config import QUANTISATION_KEYS, config_fault, json_object, layers_fault, stated_layers

HOW_IT_RUNS = frozenset(
    {
        # Code of its own, never run, and files that are none of ours.
        *("auto_map", "configuration_files", "transformers_weights", "fusion_config"),
        # Kernels that this machine may not have; the default gives the same numbers.
        *("attn_implementation", "_attn_implementation", "_attn_implementation_internal"),
        *("_attn_implementation_autoset", "_flash_attn_2_enabled", "use_flash_attn", "use_flash_attention_2"),
        *("experts_implementation", "_experts_implementation", "_experts_implementation_internal"),
        # The weights are float32 whatever they were saved as.
        *("torch_dtype", "dtype"),
        # Outputs of a pass.
        *("use_cache", "return_dict", "output_attentions", "output_hidden_states", "torchscript"),
        # Empty: others are refused.
        *QUANTISATION_KEYS,
        # Labels of classifiers.
        *("id2label", "label2id", "num_labels", "problem_type"),
        *("_name_or_path", "name_or_path"),
    }
)
"""Keys of a configuration, left out, that say how a model is run or where it comes from, not what it is."""

GENERATION = "generation_config.json"
MOST_LAYERS = 1000
FLOATS = ("F64", "F32", "F16", "BF16")

OUTER = ("base_model", "model", "transformer", "language_model", "lm", "net", "student")
"""Name prefixes of a model that was saved as a part of another module."""

HEAD = "lm_head.weight"
CODES = (
    ".SCB",
    ".qweight",
    ".qzeros",
    ".scales",
    ".g_idx",
    ".absmax",
    "_scale",
    "_scale_inv",
    "_zero_point",
    "_packed",
)
"""Ends of the names of tensors by which quantised weights are decoded."""

QUANTISED = "Quantised weights cannot be edited: give the model as it was before, or dequantise and save it"

HARMLESS = re.compile(
    r"(^|\.)(attn|attention|self_attn)(\.attention)?\.(bias|masked_bias)$|(^|\.)(inv_freq|position_ids)$"
)
"""Masks and positions that older versions saved with the weights; models make their own."""


class Fit(NamedTuple):
    """A model without memory, and the tensors whose names in the files are not those of the model."""

    model: PreTrainedModel  # on the meta device
    renamed: dict[str, str]  # the model's name, by that in the files


class Misfit(NamedTuple):
    """Fault of a checkpoint, in words, and the number of tensors at fault."""

    fault: str
    tensors: int


class LoadingInfo(TypedDict):
    """Names of tensors that `from_pretrained` tells of with `output_loading_info`."""

    missing_keys: Collection[str]
    unexpected_keys: Collection[str]
    mismatched_keys: Collection[tuple[str, Iterable[int], Iterable[int]]]  # name, shape in the file, shape in the model


def configuration(folder: Path | str) -> PreTrainedConfig:
    """The configuration of a model folder, of a class that transformers has, without what says how the model is run.

    Raises:
        ModelError: when it cannot be read, or is that of no causal language model with plain weights.
    """
    stated = read_settings(Path(folder) / CONFIG)
    read_settings(Path(folder) / GENERATION)  # read by transformers while it loads the weights
    if fault := config_fault(stated):
        raise ModelError(f"{CONFIG} {fault}")
    kind = stated.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise ModelError(
            f"{CONFIG} names no model_type, so its architecture is unknown: save the model by save_pretrained"
        )
    with TemporaryDirectory() as place:  # transformers reads configurations from files
        (Path(place) / CONFIG).write_text(json.dumps(_without(stated, HOW_IT_RUNS)), encoding="utf-8")
        try:
            with _silence():
                config = AutoConfig.from_pretrained(place, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # its classes check values in ways of their own
            raise ModelError(
                f"{CONFIG} of a {kind} cannot be used: {_unrecognised(kind, stated) or said(error)}"
            ) from error
    config.name_or_path = ""  # the choice of tokenizer must not depend on the folder's path
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ModelError(f"{CONFIG} is that of a {kind}, which is no causal language model of transformers")
    text = config.get_text_config()
    padding = getattr(text, "pad_token_id", None)
    if padding is not None and not (isinstance(padding, int) and 0 <= padding < text.vocab_size):
        text.pad_token_id = None  # hidden by the attention mask, so it need not be in the vocabulary
    return config


def read_settings(path: Path) -> dict:
    """The JSON object in a file of a model folder; empty where there is no such file.

    Raises:
        ModelError: when there is something else in it.
    """
    try:
        return json_object(path) if path.exists() else {}
    except ValueError as error:
        raise ModelError(f"{path.name} {error}") from error


def fit(config: PreTrainedConfig, tensors: Mapping[str, Tensor]) -> Fit:
    """Compare the tensors of a checkpoint with the model that a configuration describes.

    Args:
        tensors: by name, from the headers of all files.

    Raises:
        ModelError: when a tensor is missing, left over, of another shape or quantised; a few are named.
    """
    stated = stated_layers(config.get_text_config().to_dict())
    layers = layers_fault(stated, blocks_in(tensors))
    if layers and stated is not None and stated > MOST_LAYERS:
        raise ModelError(f"{CONFIG} {layers}")  # even without memory, so many take long to make
    faults: list[Misfit] = []
    for renamed in _renamings(list(tensors)):
        found = _compared(config, tensors, renamed)
        if isinstance(found, PreTrainedModel):
            return Fit(found, renamed)
        faults.append(found)
    least = min(faults, key=lambda misfit: misfit.tensors)
    raise ModelError(least.fault + (f". {CONFIG} {layers}" if layers else ""))


def misfits(told: LoadingInfo) -> Misfit | None:
    """Fault of a checkpoint by the loading info of `from_pretrained`; None where there is none."""
    lacking = sorted(told["missing_keys"])
    unused = sorted(name for name in told["unexpected_keys"] if not HARMLESS.search(name))
    other = sorted(told["mismatched_keys"])
    parts = []
    if lacking:
        parts.append(f"lack {_counted(lacking)} of the model ({listed(lacking)})")
    if unused:
        parts.append(f"hold {_counted(unused)} that it does not have ({listed(unused)})")
    if other:
        shapes = (f"{name}, {_shape(held)} and not {_shape(wanted)}" for name, held, wanted in other)
        parts.append(f"hold {_counted(other)} of another shape ({listed(shapes)})")
    if not parts:
        return None
    fault = (
        f"the weights are not those of the model in {CONFIG}: they {' and '.join(parts)}. {_remedy(lacking, unused)}"
    )
    return Misfit(fault, len(lacking) + len(unused) + len(other))


def key_mapping(renamed: Mapping[str, str]) -> dict[str, str]:
    """Renamed tensors as `from_pretrained` takes them: patterns of names, and what they become."""
    return {f"^{re.escape(old)}$": new for old, new in renamed.items()}


def said(error: BaseException) -> str:
    """Message of another library's error in one line."""
    text = " ".join(str(error).split())[:400]
    return text if len(text.split()) > 2 else f"{type(error).__name__} {text}".rstrip()


def _without(value: object, keys: frozenset[str]) -> object:
    if isinstance(value, dict):
        return {key: _without(inner, keys) for key, inner in value.items() if key not in keys}
    return value


def _unrecognised(kind: str, stated: dict) -> str | None:
    if kind in CONFIG_MAPPING:
        return None
    code = ", and code of its own (auto_map) is never run" if "auto_map" in stated else ""
    return f"transformers has no such model_type{code}: correct it, or give a model of a known architecture"


def _renamings(names: list[str]) -> Iterator[dict[str, str]]:
    """Ways to read tensors' names, the plain one first: the model's name of each that differs, by that in the file."""
    plain = list(map(unwrapped, names))
    yield {}
    while True:
        changed = {old: new for old, new in zip(names, plain, strict=True) if old != new}
        if changed:
            yield changed
        outer = {name.partition(".")[0] for name in plain}
        if len(outer) != 1 or outer.isdisjoint(OUTER):
            return
        plain = [name.partition(".")[2] for name in plain]


def _compared(
    config: PreTrainedConfig, tensors: Mapping[str, Tensor], renamed: Mapping[str, str]
) -> PreTrainedModel | Misfit:
    """The model without memory where the tensors, read by these names, fit it; or else what is wrong."""
    names: dict[str, str] = {}
    for old in tensors:
        first = names.setdefault(renamed.get(old, old), old)
        if first != old:
            return Misfit(_twice(first, old), len(tensors))
    model, told = _load_headers(config, {new: tensors[old].shape for new, old in names.items()})
    within = f"{model.base_model_prefix}."
    if twice := sorted(name for name in names if within + name in names):
        return Misfit(_twice(names[twice[0]], names[within + twice[0]]), len(tensors))
    if misfit := misfits(told):
        return misfit
    coded = sorted(old for new, old in names.items() if tensors[old].dtype not in FLOATS and not HARMLESS.search(new))
    if coded:
        return Misfit(f"{listed(coded)}: of type {tensors[coded[0]].dtype}. {QUANTISED}", 0)
    return model


def _load_headers(
    config: PreTrainedConfig, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[PreTrainedModel, LoadingInfo]:
    """The model on the meta device, and the loading info of tensors of these shapes.

    Raises:
        ModelError: when the configuration describes no model that can be made.
    """
    kind: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]  # typed as a pair of classes, and with another result
    own = config if isinstance(config, kind.config_class) else config.get_text_config()
    try:
        with _silence():
            return kind.from_pretrained(
                None,
                config=own,
                state_dict={name: torch.empty(shape, device="meta") for name, shape in shapes.items()},
                device_map="meta",
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # the loading info names them like the others
                output_loading_info=True,
                trust_remote_code=False,
            )
    except Exception as error:  # models are made by code that checks little
        raise ModelError(f"{CONFIG} describes no {kind.__name__} that can be made: {said(error)}") from error


@contextmanager
def _silence() -> Iterator[None]:
    """Suppress warnings: those that matter are errors here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _remedy(lacking: list[str], unused: list[str]) -> str:
    if any("lora_" in name or ".base_layer." in name for name in unused):
        return f"An adapter is among them: {MERGE}"
    if any(name.endswith(CODES) for name in unused):
        return QUANTISED
    if lacking == [HEAD] and not unused:
        return f"If its head is the embedding, set tie_word_embeddings to true in {CONFIG}; else save the model with it"
    return "Give both from the same model, saved whole by save_pretrained"


def _twice(first: str, second: str) -> str:
    return f"{first} and {second} are one tensor of the model: take the one that is left over away"


def _counted(tensors: list) -> str:
    return f"{len(tensors)} tensor{'s' if len(tensors) > 1 else ''}"


def _shape(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"
