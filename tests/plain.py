"""Plain implementations, one fact and one prompt at a time with full forward passes: the oracles of the fast paths."""

import torch
from torch.nn.functional import kl_div, log_softmax

from normgrowth.prompts import encode, encode_with_target, fill, last_token_of


def loss_of(lm, prompt: str, target: str) -> tuple[float, bool]:
    """Mean loss of the target after the prompt, and whether each of its tokens is the most probable."""
    ids, first = encode_with_target(lm.tokenizer, prompt, target)
    logits = lm.model(input_ids=torch.tensor([ids])).logits[0].float()
    predicted = log_softmax(logits, dim=-1)
    losses = [-predicted[i - 1, ids[i]] for i in range(first, len(ids))]
    right = all(logits[i - 1].argmax() == ids[i] for i in range(first, len(ids)))
    return (sum(losses) / len(losses)).item(), right


def search_target(lm, fact, contexts, modules, settings) -> torch.Tensor:
    """The target value by torch's own Adam, one forward pass per prompt, all logits.

    Offsets stand at the outputs of `modules`; the value returned is that of the last.
    """
    rows = []
    for context in contexts:
        text, span = fill(context, fact.question, fact.subject_span)
        ids, first = encode_with_target(lm.tokenizer, text, fact.target_new)
        rows.append((ids[:-1], last_token_of(encode(lm.tokenizer, text), span), ids, first))
    essence = encode(lm.tokenizer, f"{fact.subject} is a")
    rows.append((essence.ids, last_token_of(essence, (0, len(fact.subject))), None, None))

    offsets = [torch.zeros(lm.anatomy.hidden_size, requires_grad=True) for _ in modules]
    optimiser = torch.optim.Adam(offsets, lr=settings.learning_rate)
    start, unchanged = {}, []

    def forward(ids, position):
        def hook_for(number):
            def hook(_module, _inputs, output):
                value = output[0] if isinstance(output, tuple) else output
                start.setdefault(number, value[0, position].detach().clone())
                value = value.clone()
                value[0, position] += offsets[number]
                return (value, *output[1:]) if isinstance(output, tuple) else value

            return hook

        handles = [module.register_forward_hook(hook_for(number)) for number, module in enumerate(modules)]
        logits = lm.model(input_ids=torch.tensor([ids])).logits[0]
        for handle in handles:
            handle.remove()
        return log_softmax(logits, dim=-1)

    for step in range(settings.steps):
        losses = []
        for inputs, position, ids, first in rows[:-1]:
            predicted = forward(inputs, position)
            losses.append(-torch.stack([predicted[i - 1, ids[i]] for i in range(first, len(ids))]).mean())
        inputs, position, _, _ = rows[-1]
        now = forward(inputs, position)[position]
        if not unchanged:
            unchanged.append(now.detach())
        divergence = kl_div(unchanged[0], now, log_target=True, reduction="sum")
        decay = sum(offset.norm() / start[number].norm() ** 2 for number, offset in enumerate(offsets))
        loss = torch.stack(losses).mean() + settings.kl_factor * divergence + settings.weight_decay * decay
        if loss < settings.stop_loss or step == settings.steps - 1:
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            for number, offset in enumerate(offsets):
                longest = settings.clamp * start[number].norm()
                if offset.norm() > longest:
                    offset *= longest / offset.norm()
    last = len(modules) - 1
    return (start[last] + offsets[last]).detach()
