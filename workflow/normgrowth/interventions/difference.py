"""What an intervention did, from two published checkpoints: read matrix by matrix, never two models in memory."""

import json
from pathlib import Path

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open

from normgrowth.anatomy import frobenius
from normgrowth.errors import ModelError
from normgrowth.interventions.norms import row

INDEX = "model.safetensors.index.json"


def compare_checkpoints(base: Path, result: Path) -> pd.DataFrame:
    """Table `interventions` (without names of the run): step 0 is the base, step 1 the result.

    Matrices are compared in float32 under the same names; those that only one of them has are left out.

    Raises:
        ModelError: when a folder lacks its weights, no matrix is common, or shapes differ.
    """
    before, after = tensors_of(base), tensors_of(result)
    rows = []
    for name in sorted(before.keys() & after.keys()):
        first = _read(before[name], name)
        if first.dim() != 2:
            continue
        second = _read(after[name], name)
        if first.shape != second.shape:
            raise ModelError(
                f"{name} is {tuple(first.shape)} in {base} and {tuple(second.shape)} in {result}: "
                "these are not checkpoints of one model"
            )
        start, end = frobenius(first), frobenius(second)
        ratio = end / start if start else float("nan")
        rows += [row(name, 0, start, 1.0, 0.0), row(name, 1, end, ratio, frobenius(second - first))]
    if not rows:
        raise ModelError(f"{base} and {result} have no weight matrix of the same name")
    return pd.DataFrame(rows)


def tensors_of(folder: Path) -> dict[str, Path]:
    """The file that holds each tensor of a model folder.

    Raises:
        ModelError: when there are no safetensors weights.
    """
    index = Path(folder) / INDEX
    if index.exists():
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return {name: Path(folder) / file for name, file in names.items()}
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise ModelError(f"model folder {folder} lacks weights (*.safetensors)")
    found = {}
    for file in files:
        with safe_open(file, framework="pt") as opened:
            found |= dict.fromkeys(opened.keys(), file)
    return found


def _read(file: Path, name: str) -> torch.Tensor:
    try:
        with safe_open(file, framework="pt") as opened:
            return opened.get_tensor(name).float()
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file} is missing or damaged ({error}); fetch the model again") from error
