"""Measurements on an edited model: scores of facts, ability, activations on fixed probes, spectra of its matrices."""
