"""Jobs that run a language model: its folder, its device, and loading it."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from normgrowth.jobs.job import Job

if TYPE_CHECKING:
    from normgrowth.lm.model import LanguageModel


class OnModel(Job):
    """A model and what it runs on."""

    model: Path = Field(description="model folder")
    device: str = Field("auto", description="auto, cpu or cuda")
    gpus: int = Field(1, description="GPUs to spread the model over")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="of matrix products in forward passes")
    threads: int = Field(1, description="CPU threads")

    def load(self) -> "LanguageModel":
        """The language model, with torch set up for repeatable results.

        Raises:
            ModelError: when the folder holds no model that can be used.
        """
        # torch: kept out of planning and of --help
        import torch

        from normgrowth.sources.loading import load_model, pick_device

        make_repeatable(self.threads)
        lm = load_model(self.model, pick_device(self.device), self.gpus)
        return replace(lm, precision=getattr(torch, self.precision))


def make_repeatable(threads: int) -> None:
    """Set torch up so that the same inputs give the same bits."""
    # torch: kept out of planning and of --help
    import torch

    # Without it, cuBLAS refuses to multiply matrices in a repeatable way; it is read at the first multiplication.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # Filling would cost time; no code here reads uninitialised memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # torch does not declare it
