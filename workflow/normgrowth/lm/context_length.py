"""How many tokens a model reads at once, and what asks for more. Free of heavy imports, for the workflow."""

from collections.abc import Iterable, Mapping

KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx")
"""Names that configurations of models give it. With rotary positions more can be read, but was never learnt."""

LEAST = 16
"""Tokens below which no prompt fits behind a context template, which takes ten."""

Asked = Mapping[str, int]
"""By key of the study: tokens that a model has to read at once, in a window of text or after a prompt."""


def context_length(config: Mapping) -> int | None:
    """Tokens that a model of this configuration reads at once; None where it names no bound."""
    config = {**config, **inner} if isinstance(inner := config.get("text_config"), Mapping) else config
    found = (config[key] for key in KEYS if isinstance(config.get(key), int) and not isinstance(config[key], bool))
    return next((length for length in found if length > 0), None)


def too_long(asked: Asked, length: int | None, model: str) -> list[str]:
    """What asks for more than the context of `model` holds, a line each; nothing where its length is not known."""
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
    """Words of a command line, `key=tokens`."""
    return [f"{key}={tokens}" for key, tokens in asked.items()]


def from_words(words: Iterable[str]) -> Asked:
    """What `as_words` wrote."""
    return {key: int(tokens) for key, _, tokens in (word.rpartition("=") for word in words)}
