"""Hooks that read or change activations during forward passes.

A place is (layer, site). Sites: `residual` (a block's output), `mlp_output` and `attention_output` (outputs of the
MLP's down-projection and of attention's output projection), `mlp_key` (input of the down-projection). The outputs are
what is written to the residual stream, except where a block norms them first (Gemma 2 and 3): there they are taken
before that norm, since an edit decides the output of the projection, not that of the norm. Where blocks lie on several
devices, activations are handed over on the device of the embeddings.

To read the input of layer 1's down-projection and the residual stream above it, run the model inside the block:

    with reading(lm.anatomy, [(1, "mlp_key"), (1, "residual")]) as seen:
        hidden = lm.hidden(ids, mask)
    keys = seen[1, "mlp_key"]                                   # [rows, tokens, width]

With `stop=True` nothing above layer 1 is computed; the pass ends early, so it has no result:

    with reading(lm.anatomy, [(1, "mlp_key")], stop=True) as seen:
        lm.hidden(ids, mask)

To add an offset to the residual stream behind layer 1, and see what the layers above make of it:

    with changing(lm.anatomy, (1, "residual"), lambda activation: activation + offset):
        hidden = lm.hidden(ids, mask)

Gradients flow through both: activations are neither copied nor detached.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import nn

from normgrowth.lm.anatomy import Anatomy

SITES = ("residual", "mlp_output", "attention_output", "mlp_key")

Place = tuple[int, str]
"""Layer and site."""


class _Enough(Exception):
    """Raised by a hook when nothing above it is needed."""


def _module_at(anatomy: Anatomy, place: Place) -> nn.Module:
    layer, site = place
    if site == "residual":
        return anatomy.blocks[layer]
    if site == "attention_output":
        return anatomy.attention_outputs[layer].module
    if site in ("mlp_output", "mlp_key"):
        return anatomy.down_projections[layer].module
    raise ValueError(f"unknown site {site!r}; known are {', '.join(SITES)}")


@contextmanager
def reading(anatomy: Anatomy, places: Iterable[Place], stop: bool = False) -> Iterator[dict[Place, torch.Tensor]]:
    """Collect the activations [rows, tokens, width] at `places` of the last forward pass made inside the block.

    Args:
        stop: end the pass after the topmost layer among the places; what follows it inside the block is skipped.

    Raises:
        ValueError: when a site is unknown.
    """
    places = list(places)
    seen: dict[Place, torch.Tensor] = {}
    with ExitStack() as stack:
        for place in places:
            stack.enter_context(_hook(anatomy, place, _keeper(seen, place)))
        if stop:
            top = max(layer for layer, _ in places)
            handle = anatomy.blocks[top].register_forward_hook(_raise_enough)
            stack.callback(handle.remove)
            stack.enter_context(suppress(_Enough))
        yield seen


@contextmanager
def changing(anatomy: Anatomy, place: Place, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Replace the activation [rows, tokens, width] at `place` by `change` of it in forward passes inside the block.

    Raises:
        ValueError: when the site is unknown.
    """
    with _hook(anatomy, place, change):
        yield


def _keeper(seen: dict[Place, torch.Tensor], place: Place) -> Callable[[torch.Tensor], None]:
    def keep(activation: torch.Tensor) -> None:
        seen[place] = activation

    return keep


@contextmanager
def with_gradients(anatomy: Anatomy, places: Iterable[Place]) -> Iterator[dict[Place, torch.Tensor]]:
    """Let the activations at `places` have gradients, of a forward pass made inside the block.

    The block is handed a zero [rows, tokens, width] for each place, which the pass adds to the activation there: the
    gradient with respect to it is that of the activation, and no gradient of any weight is formed.

    Raises:
        ValueError: when a site is unknown.
    """
    added: dict[Place, torch.Tensor] = {}

    def adder(place: Place) -> Callable[[torch.Tensor], torch.Tensor]:
        def add(activation: torch.Tensor) -> torch.Tensor:
            added[place] = torch.zeros_like(activation, requires_grad=True)
            return activation + added[place]

        return add

    with ExitStack() as stack:
        for place in places:
            stack.enter_context(changing(anatomy, place, adder(place)))
        yield added


@contextmanager
def _hook(anatomy: Anatomy, place: Place, function: Callable[[torch.Tensor], torch.Tensor | None]) -> Iterator[None]:
    module = _module_at(anatomy, place)
    rows_and_tokens: list[int] = []

    def before_block(_block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        stream = next(iter((*args, *kwargs.values())))
        rows_and_tokens[:] = stream.shape[:2]

    def on_activation(activation: torch.Tensor) -> torch.Tensor | None:
        # OPT's MLPs read all rows as one list of tokens.
        is_flat = activation.ndim == 2
        at_home = activation.to(anatomy.home)
        replacement = function(at_home.unflatten(0, rows_and_tokens) if is_flat else at_home)
        if replacement is None:
            return None
        return (replacement.flatten(0, 1) if is_flat else replacement).to(activation.device)

    def on_input(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        replacement = on_activation(inputs[0])
        return None if replacement is None else (replacement, *inputs[1:])

    def on_output(_module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> Any:
        # Blocks return a bare tensor or, as GPT-J's, a tuple that begins with it.
        first = output[0] if isinstance(output, tuple) else output
        replacement = on_activation(first)
        if replacement is None:
            return None
        return (replacement, *output[1:]) if isinstance(output, tuple) else replacement

    handles = [anatomy.blocks[place[0]].register_forward_pre_hook(before_block, with_kwargs=True)]
    if place[1] == "mlp_key":
        handles.append(module.register_forward_pre_hook(on_input))
    else:
        handles.append(module.register_forward_hook(on_output))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _raise_enough(*_: object) -> None:
    raise _Enough
