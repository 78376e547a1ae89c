"""Settings of further training of whole models. Free of torch, for planning a study."""

from typing import Literal

from pydantic import Field

from normgrowth.checked import Checked

CONTINUED_PRETRAINING = "continued_pretraining"
FULL_FINE_TUNING = "full_fine_tuning"
LORA_FINE_TUNING = "lora_fine_tuning"
KINDS = (CONTINUED_PRETRAINING, FULL_FINE_TUNING, LORA_FINE_TUNING)


class InterventionTraining(Checked):
    """AdamW on all weights, or on adapters, with a constant learning rate after a linear warm-up."""

    seeds: int = Field(3, ge=1, description="Training runs, each with its own draw of the data: the units of verdicts.")
    steps: int = Field(100, ge=1, description="Optimizer steps.")
    batch: int = Field(8, ge=1, description="Windows of text, or pairs of prompt and answer, in one step.")
    window: int = Field(64, ge=2, description="Tokens of a window of text (continued pre-training).")
    learning_rate: float = Field(3e-4, gt=0, le=1, description="Learning rate after the warm-up.")
    warmup_steps: int = Field(10, ge=0, description="Steps over which the learning rate rises.")
    weight_decay: float = Field(
        0.0, ge=0, description="Decoupled weight decay of matrices. Above 0 it makes norms fall by itself."
    )
    rank: int = Field(16, ge=1, description="Rank of the adapters (LoRA).")
    alpha: float = Field(32.0, gt=0, description="LoRA's alpha: adapters are scaled by alpha / rank.")
    norms_every: int = Field(5, ge=1, description="Steps between two records of every matrix's norm.")


Kind = Literal["continued_pretraining", "full_fine_tuning", "lora_fine_tuning"]
