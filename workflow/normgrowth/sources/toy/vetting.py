"""Tests of a model before editing: it knows the facts, and keeps them where editors expect them.

Locate-then-edit methods presume that an early or middle layer's residual stream at the subject's last token carries
the fact. The causal trace measures it: with the subject's embeddings corrupted by noise, how much of the object's
probability comes back when one layer's residual stream at that token is restored.
Source: Meng et al., "Locating and Editing Factual Associations in GPT" (arXiv 2202.05262), section 2.
"""

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from normgrowth.facts.records import Fact
from normgrowth.lm.hooks import changing, reading
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.tokens import EncodedTarget, encode, encode_with_target, pad

TRACED_FACTS = 20
NOISE_SAMPLES = 8
NOISE_SCALE = 3.0
"""Size of the noise in standard deviations of the subjects' embeddings, as in the source."""
ROWS_PER_PASS = 128


class Recall(NamedTuple):
    """Shares of prompts; `_top` asks that the true object be the most probable continuation of all."""

    edit: float  # the true object is more probable than the new one
    edit_top: float
    paraphrase: float
    paraphrase_top: float

    @property
    def least_edit(self) -> float:
        return min(self.edit, self.edit_top)

    @property
    def least_paraphrase(self) -> float:
        return min(self.paraphrase, self.paraphrase_top)


class Question(NamedTuple):
    """A prompt followed by the true object, and by the new one."""

    true: EncodedTarget
    new: EncodedTarget


class Quiz(NamedTuple):
    """Questions about facts: their edit prompts and their paraphrases."""

    edit: list[Question]
    paraphrase: list[Question]


def make_quiz(tokenizer: PreTrainedTokenizerBase, facts: Iterable[Fact]) -> Quiz:
    """The questions of facts, encoded."""
    edit: list[Question] = []
    paraphrase: list[Question] = []
    for fact in facts:
        for questions, prompts in ((edit, (fact.question,)), (paraphrase, fact.paraphrases)):
            for prompt in prompts:
                objects = (fact.target_true, fact.target_new)
                questions.append(Question(*(encode_with_target(tokenizer, prompt, object_) for object_ in objects)))
    return Quiz(edit, paraphrase)


def recall(model: PreTrainedModel, quiz: Quiz) -> Recall:
    """Recall of the facts of a quiz."""
    shares: list[float] = []
    for questions in quiz:
        true, top = _continuations(model, [question.true for question in questions])
        new, _ = _continuations(model, [question.new for question in questions])
        shares += [_share(true > new), _share(top)]
    return Recall(*shares)


# The model is tested while it trains, before it is frozen as a `LanguageModel`, and the result ends training. The
# batches of `lm.continuations`, in which objects share rows, round differently and would end it at another step.
@torch.no_grad()
def _continuations(model: PreTrainedModel, rows: list[EncodedTarget]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean log-probability of each row's object [rows], and whether all its tokens are the most probable [rows]."""
    log_probability = torch.empty(len(rows))
    top = torch.empty(len(rows), dtype=torch.bool)
    by_length = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
    for start in range(0, len(rows), ROWS_PER_PASS):
        chosen = by_length[start : start + ROWS_PER_PASS]
        ids, mask = pad([rows[i][0] for i in chosen], 0, "cpu")
        hidden = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        spans = [range(rows[i][1], len(rows[i][0])) for i in chosen]  # of the objects
        row = torch.tensor([r for r, span in enumerate(spans) for _ in span])
        position = torch.tensor([p for span in spans for p in span])
        target = ids[row, position]
        predicted = model.get_output_embeddings()(hidden[row, position - 1]).log_softmax(-1)
        lengths = [len(span) for span in spans]
        at_target = predicted.gather(1, target[:, None]).squeeze(1)
        log_probability[chosen] = torch.stack([part.mean() for part in at_target.split(lengths)])
        top[chosen] = torch.stack([part.all() for part in (predicted.argmax(1) == target).split(lengths)])
    return log_probability, top


@torch.no_grad()
def perplexity(lm: LanguageModel, texts: list[str]) -> float:
    """Perplexity: exp of the mean loss of a next token, in windows of the model's context cut from the packed texts."""
    # Room `measure`, which stands above this one, takes the mean in float64: figures of trained models would change.
    ids: list[int] = []
    for text in texts:
        ids += [lm.tokenizer.eos_token_id, *lm.tokenizer(text, add_special_tokens=False)["input_ids"]]
    length = lm.model.config.max_position_embeddings
    windows = torch.tensor(ids[: len(ids) // length * length]).view(-1, length)
    losses = []
    for batch in windows.split(ROWS_PER_PASS):
        logits = lm.logits(lm.hidden(batch, torch.ones_like(batch))[:, :-1])
        losses.append(cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="none"))
    return round(torch.cat(losses).mean().exp().item(), 4)


class Trace(NamedTuple):
    """A fact's prompt as the unedited model sees it."""

    embeddings: torch.Tensor  # [1, tokens, width], before positions are added
    subject: list[int]  # positions of the subject's tokens
    answer: int  # first token of the true object
    probability: float  # of the answer
    streams: torch.Tensor  # [layers, tokens, width], outputs of the blocks


def vet(lm: LanguageModel, facts: list[Fact], seed: int) -> dict:
    """Figures of what editing needs: norms of the residual stream by depth, and the causal trace (see the module)."""
    traces = [_trace(lm, fact) for fact in facts[:TRACED_FACTS]]
    recovered = causal_trace(lm, traces, seed)
    best = max(range(len(recovered)), key=recovered.__getitem__)
    return {
        "residual_norms": residual_norms(traces),
        "causal_trace": {"recovered_by_layer": recovered, "best_layer": best, "best_recovered": recovered[best]},
    }


def residual_norms(traces: list[Trace]) -> dict[str, list[float]]:
    """Euclidean norms of the blocks' outputs: over all tokens, and at the subject's last token."""
    every = torch.cat([trace.streams.norm(dim=-1) for trace in traces], dim=1)  # [layers, tokens]
    subject_last = torch.stack([trace.streams[:, trace.subject[-1]].norm(dim=-1) for trace in traces], dim=1)
    return {
        "mean": _rounded(every.mean(1)),
        "largest": _rounded(every.amax(1)),
        "subject_last": _rounded(subject_last.mean(1)),
    }


def causal_trace(lm: LanguageModel, traces: list[Trace], seed: int) -> list[float]:
    """Share of the lost probability that restoring a layer's output at the subject's last token recovers, by layer."""
    generator = torch.Generator().manual_seed(seed)
    scale = NOISE_SCALE * torch.cat([trace.embeddings[0, trace.subject] for trace in traces]).std()
    lost, recovered = 0.0, torch.zeros(lm.anatomy.n_layers)
    for trace in traces:
        corrupted = trace.embeddings.repeat(NOISE_SAMPLES, 1, 1)
        width = corrupted.shape[-1]
        corrupted[:, trace.subject] += scale * torch.randn(
            NOISE_SAMPLES, len(trace.subject), width, generator=generator
        )
        without = _probability(lm, corrupted, trace.answer)
        lost += trace.probability - without
        last = trace.subject[-1]
        for layer in range(lm.anatomy.n_layers):
            state = trace.streams[layer, last].expand(NOISE_SAMPLES, 1, width)
            with changing(lm.anatomy, (layer, "residual"), partial(_restored, last, state)):
                recovered[layer] += _probability(lm, corrupted, trace.answer) - without
    return _rounded(recovered / lost)


def _restored(position: int, state: torch.Tensor, activation: torch.Tensor) -> torch.Tensor:
    """An activation [rows, tokens, width] with `state` [rows, 1, width] at one position."""
    return activation.index_copy(1, torch.tensor([position]), state)


def _trace(lm: LanguageModel, fact: Fact) -> Trace:
    encoded = encode(lm.tokenizer, fact.question)
    begin, end = fact.subject_span
    subject = [i for i, (left, right) in enumerate(encoded.spans) if left < end and right > begin]
    ids, first = encode_with_target(lm.tokenizer, fact.question, fact.target_true)
    embeddings = lm.model.get_input_embeddings()(torch.tensor([encoded.ids]))
    places = [(layer, "residual") for layer in range(lm.anatomy.n_layers)]
    with reading(lm.anatomy, places) as seen:
        probability = _probability(lm, embeddings, ids[first])
    streams = torch.cat([seen[place] for place in places])
    return Trace(embeddings, subject, ids[first], probability, streams)


@torch.no_grad()
def _probability(lm: LanguageModel, embeddings: torch.Tensor, answer: int) -> float:
    """Mean over rows of the probability that `answer` follows embeddings [rows, tokens, width]."""
    hidden = lm.anatomy.trunk(inputs_embeds=embeddings, use_cache=False).last_hidden_state[:, -1]
    return lm.logits(hidden).softmax(-1)[:, answer].mean().item()


def _share(holds: torch.Tensor) -> float:
    return round(holds.float().mean().item(), 6)


def _rounded(values: torch.Tensor) -> list[float]:
    return [round(value, 4) for value in values.tolist()]
