"""Updates of a whole model after its pre-training: continued pre-training, full fine-tuning, LoRA; and their norms."""
