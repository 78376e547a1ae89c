"""What an intervention did, from two published checkpoints: read matrix by matrix, never two models in memory."""

from pathlib import Path

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open

from normgrowth.errors import ModelError
from normgrowth.lm.anatomy import frobenius
from normgrowth.sources.checkpoint_files import Tensor, tensors_of
from normgrowth.sources.manifest import verify
from normgrowth.training.norms import row


def compare_checkpoints(base: Path, result: Path) -> pd.DataFrame:
    """Table `interventions` (without names of the run): step 0 is the base, step 1 the result.

    Matrices are compared in float32 under the same names; those that only one of them has are left out.

    Raises:
        ModelError: when a folder lacks its weights or holds others than its manifest says, no matrix is common, or
            shapes differ.
    """
    before, after = tensors_of(verify(base)), tensors_of(verify(result))
    rows = []
    for name in sorted(before.keys() & after.keys()):
        if len(before[name].shape) != 2:
            continue
        if before[name].shape != after[name].shape:
            raise ModelError(
                f"{name} is {before[name].shape} in {base} and {after[name].shape} in {result}: "
                "these are not checkpoints of one model"
            )
        first, second = _read(before[name], name), _read(after[name], name)
        start, end = frobenius(first), frobenius(second)
        ratio = end / start if start else float("nan")
        rows += [row(name, 0, start, 1.0, 0.0), row(name, 1, end, ratio, frobenius(second - first))]
    if not rows:
        raise ModelError(f"{base} and {result} have no weight matrix of the same name")
    return pd.DataFrame(rows)


def _read(tensor: Tensor, name: str) -> torch.Tensor:
    try:
        with safe_open(tensor.file, framework="pt") as opened:
            return opened.get_tensor(name).float()
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{tensor.file} is missing or damaged ({error}); fetch the model again") from error
