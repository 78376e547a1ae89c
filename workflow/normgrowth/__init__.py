"""Norm growth and stability of language models under sequential knowledge editing."""

__version__ = "0.1.0"
