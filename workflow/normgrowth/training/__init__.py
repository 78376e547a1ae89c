"""Further training of a whole model: continued pre-training, full fine-tuning, LoRA; and the norms along it."""
