"""Remedies: wrappers that change how another editor writes, so that it harms the model less."""
