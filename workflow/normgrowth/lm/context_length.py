"""Context length of models, and settings that exceed it. Free of heavy imports, for the workflow."""

from collections.abc import Iterable, Mapping

KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx")
"""Keys of the context length in models' configurations. Rotary positions allow more, without training for it."""

LEAST = 16
"""Least context length: a prompt must fit after a context template of ten tokens."""

Asked = Mapping[str, int]
"""Lengths in tokens that a study requires, of a window or a continuation, by key of the study."""


def context_length(config: Mapping) -> int | None:
    """Tokens that a model of this configuration reads at once; None where it names no bound."""
    config = {**config, **inner} if isinstance(inner := config.get("text_config"), Mapping) else config
    found = (config[key] for key in KEYS if isinstance(config.get(key), int) and not isinstance(config[key], bool))
    return next((length for length in found if length > 0), None)


def too_long(asked: Asked, length: int | None, model: str) -> list[str]:
    """Faults of settings that exceed the context of `model`, a line each; none if its length is not known."""
    if length is None:
        return []
    if length < LEAST:
        return [f"the context of {model} holds {length} tokens: editing takes a model of {LEAST} or more"]
    return [
        f"{key} is {tokens}, and the context of {model} holds {length} tokens: set it to {length} or less"
        for key, tokens in asked.items()
        if tokens > length
    ]


def as_words(asked: Asked) -> list[str]:
    """Arguments of a command line, `key=tokens`, which `from_words` reads."""
    return [f"{key}={tokens}" for key, tokens in asked.items()]


def from_words(words: Iterable[str]) -> Asked:
    """Tokens by key, from arguments that `as_words` wrote."""
    return {key: int(tokens) for key, _, tokens in (word.rpartition("=") for word in words)}
