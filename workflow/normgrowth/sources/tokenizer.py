"""Tokenizer of a model folder: loading it, and checking that its ids are rows of the model's embedding."""

from pathlib import Path

import transformers
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from normgrowth.errors import ModelError
from normgrowth.sources.checkpoint_files import CONFIG, listed
from normgrowth.sources.checkpoint_fit import read_settings, said

SETTINGS = "tokenizer_config.json"


def load_tokenizer(folder: Path | str, config: PreTrainedConfig, rows: int) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder, of a class that transformers has; its ids are rows of the embedding.

    Special tokens beyond the embedding, which fine-tuning code often adds, are not recognised in texts or used as
    padding. A tokenizer that names no token for the beginning or end of texts gets the one that it puts before texts,
    or the one that the model's configuration states.

    Args:
        rows: number of rows of the model's embedding.

    Raises:
        ModelError: when it cannot be loaded, needs code of its own, gives no character offsets, or makes ids of text
            that the embedding does not have; or when nothing says which token texts begin or end with.
    """
    _refuse_own_code(Path(folder) / SETTINGS)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder), config=config, local_files_only=True, trust_remote_code=False
        )
    except BaseException as error:  # the library in Rust panics past Exception on files of another kind
        if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
            raise
        raise ModelError(
            f"the tokenizer's files are damaged or of another kind ({said(error)}): save it again by save_pretrained"
        ) from error
    if not tokenizer.is_fast:
        raise ModelError(
            f"the tokenizer, {type(tokenizer).__name__}, gives no character offsets: save a fast one (tokenizer.json)"
        )
    _keep_within(tokenizer, rows)
    if tokenizer.bos_token_id is None and tokenizer.eos_token_id is None:
        tokenizer.bos_token = _begin_token(tokenizer, read_settings(Path(folder) / CONFIG), rows)
    return tokenizer


def _refuse_own_code(settings: Path) -> None:
    """Refuse a tokenizer whose class is code beside it: another class would read texts differently."""
    stated = read_settings(settings)
    kind = stated.get("tokenizer_class")
    if "auto_map" in stated and not hasattr(transformers, str(kind)):
        raise ModelError(
            f"{settings.name} names code of its own for the tokenizer (auto_map), which is never run: save the "
            "tokenizer as a fast one of transformers (tokenizer.json)"
        )


def _begin_token(tokenizer: PreTrainedTokenizerBase, stated: dict, rows: int) -> str:
    """The token that texts begin with: the tokenizer's own, or the one that the model's configuration states."""
    encoded = tokenizer("a", return_special_tokens_mask=True)
    before = [id_ for id_, special in zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True) if special]
    for found in (before[:1], stated.get("bos_token_id"), stated.get("eos_token_id")):
        for id_ in found if isinstance(found, list) else [found]:
            if isinstance(id_, int) and 0 <= id_ < min(rows, len(tokenizer)):
                return str(tokenizer.convert_ids_to_tokens(id_))
    raise ModelError(
        f"neither the tokenizer nor {CONFIG} says which token texts begin or end with, and contexts go on from "
        f"it: name one as bos_token in {SETTINGS}"
    )


def _keep_within(tokenizer: PreTrainedTokenizerBase, rows: int) -> None:
    """Keep special tokens beyond the embedding's rows from being made; refuse other tokens beyond them.

    Raises:
        ModelError: when texts may be given such a token.
    """
    beyond = {id_: token for token, id_ in tokenizer.get_vocab().items() if not 0 <= id_ < rows}
    if not beyond:
        return
    special = {id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special}
    used = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id, *tokenizer("a")["input_ids"]}
    if wrong := sorted(set(beyond) - special | set(beyond) & used):
        raise ModelError(
            f"the tokenizer makes ids up to {wrong[-1]} ({listed(repr(beyond[id_]) for id_ in wrong)}), but the "
            f"model's embedding has {rows} rows: give the tokenizer that the model was trained with"
        )
    tokenizer.split_special_tokens = True
    if tokenizer.pad_token_id in beyond:
        tokenizer.pad_token = None
