"""What is measured on an edited model: scores of facts, activations on fixed probes, perplexity."""
