"""PMET's published search, one fact at a time in float64: what the library's batched search is held to.

It shares no code with the editors: its own tokenisation, hooks and loop, and torch's Adam. The schedule is that of
PMET's code (arXiv 2308.08742): the loss of a pass is formed with the likelihood factor that the pass before left, then
the pass ends the search or leaves a factor for the next one.
"""

import copy
from dataclasses import dataclass

import torch

PLACES = {"gpt2": ("attn.c_proj", "mlp.c_proj"), "llama": ("self_attn.o_proj", "mlp.down_proj")}


@dataclass
class Found:
    """What the search came to, and how it went."""

    target: torch.Tensor  # float64
    steps: int
    factors: list[float]  # that each pass counted the likelihood by
    end: str  # "loss", "divergence" or "passes"
    divergences: list[float]  # of each pass, without kl_factor
    wins: list[bool]  # whether a pass found the object most probable under every context


def published_search(lm, architecture, fact, contexts, layer, settings, relaxed, stop) -> Found:
    """Search the MLP's value of one fact, with offsets in attention and MLP, on a float64 copy of the model."""
    model = copy.deepcopy(lm.model).double().eval().requires_grad_(False)
    block = (model.transformer.h if architecture == "gpt2" else model.model.layers)[layer]
    modules = [block.get_submodule(name) for name in PLACES[architecture]]
    prompts = [_prompt(lm.tokenizer, context, fact) for context in contexts]
    essence = _encoded(lm.tokenizer, f"{fact.subject} is a", len(fact.subject))
    starts = _outputs(model, modules, prompts[0])
    offsets = [torch.zeros_like(start, requires_grad=True) for start in starts]
    adam = torch.optim.Adam(offsets, lr=settings.learning_rate)
    unchanged = None
    found = Found(None, 0, [], "passes", [], [])
    factor = 1.0
    for number in range(settings.steps):
        likelihoods, wins = [], []
        for ids, subject, object_at in prompts:
            logits = _logits(model, modules, offsets, ids[:-1], subject)[object_at - 1 :]
            wanted = torch.tensor(ids[object_at:])
            likelihoods.append(logits.log_softmax(-1).gather(1, wanted[:, None]).mean())
            wins.append(torch.equal(logits.argmax(-1), wanted))
        now = _logits(model, modules, offsets, essence[0], essence[1])[essence[1]].log_softmax(-1)
        unchanged = now.detach() if unchanged is None else unchanged
        divergence = (now.exp() * (now - unchanged)).sum()
        decay = sum(offset.norm() / start.norm() ** 2 for offset, start in zip(offsets, starts, strict=True))
        loss = -factor * torch.stack(likelihoods).mean() + settings.kl_factor * divergence
        loss = loss + settings.weight_decay * decay
        found.factors.append(factor)
        found.divergences.append(divergence.item())
        found.wins.append(all(wins))
        if loss.item() < settings.stop_loss:
            found.end = "loss"
            break
        factor = relaxed if all(wins) else 1.0
        if all(wins) and settings.kl_factor * divergence.item() <= stop:
            found.end = "divergence"
            break
        if number == settings.steps - 1:
            break
        adam.zero_grad()
        loss.backward()
        adam.step()
        found.steps += 1
        with torch.no_grad():
            for offset, start in zip(offsets, starts, strict=True):
                offset.mul_(min(1.0, (settings.clamp * start.norm() / offset.norm()).item()))
    found.target = starts[1] + offsets[1].detach()
    return found


def _encoded(tokenizer, text: str, subject_end: int) -> tuple[list[int], int]:
    """Tokens, and the one that holds the subject's last character."""
    encoded = tokenizer(text, return_offsets_mapping=True)
    spans = encoded["offset_mapping"]
    return encoded["input_ids"], next(i for i, (a, b) in enumerate(spans) if a < subject_end <= b)


def _prompt(tokenizer, context: str, fact) -> tuple[list[int], int, int]:
    text = context.replace("{}", fact.question)
    start = text.index(fact.subject, context.index("{}"))
    before, subject = _encoded(tokenizer, text, start + len(fact.subject))
    ids = tokenizer(f"{text} {fact.target_new}")["input_ids"]
    assert ids[: len(before)] == before
    return ids, subject, len(before)


def _outputs(model, modules, prompt) -> list[torch.Tensor]:
    seen = []
    hooks = [m.register_forward_hook(lambda _m, _i, out: seen.append(out[0, prompt[1]].clone())) for m in modules]
    model(torch.tensor([prompt[0][:-1]]))
    for hook in hooks:
        hook.remove()
    return seen


def _logits(model, modules, offsets, ids, subject) -> torch.Tensor:
    """Logits [tokens, vocabulary] with the offsets added at the subject's last token."""

    def adding(offset):
        def add(_module, _inputs, output):
            at = torch.zeros(output.shape[1], 1, dtype=output.dtype)
            at[subject] = 1.0
            return output + at * offset

        return add

    hooks = [m.register_forward_hook(adding(offset)) for m, offset in zip(modules, offsets, strict=True)]
    try:
        return model(torch.tensor([ids])).logits[0]
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def hold_nearly_known(lm, fact, contexts, margin: float) -> None:
    """Change the head so that each token of the object lies `margin` below the most probable one under each context."""
    prompts = [_prompt(lm.tokenizer, context, fact) for context in contexts]
    for number in range(len(prompts[0][0]) - prompts[0][2]):
        states = []
        for ids, _, object_at in prompts:
            hidden = lm.model.base_model(torch.tensor([ids[:-1]])).last_hidden_state
            states.append(hidden[0, object_at - 1 + number])
        states = torch.stack(states)
        logits = lm.model.get_output_embeddings()(states)
        token = prompts[0][0][prompts[0][2] + number]
        missing = logits.amax(dim=1) - margin - logits[:, token]
        lm.model.get_output_embeddings().weight[token] += torch.linalg.pinv(states) @ missing
