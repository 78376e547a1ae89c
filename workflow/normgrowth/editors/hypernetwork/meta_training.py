"""Training a hypernetwork on facts that no run edits: make edits, each alone, and follow the gradient through them.

The loss of an edit has two parts: that of the new objects on the facts' prompts and paraphrases after the edit, and the
divergence from the unedited model on prompts that the edit should not change, the facts' neighbours. The language
model's weights stay as they are: an edit is added to the outputs of its matrices.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import torch
from torch.nn.functional import log_softmax

from normgrowth.editors.hypernetwork.networks import Network, Parameters, edited, input_output_widths, token_gradients
from normgrowth.editors.locate.solving import naming
from normgrowth.errors import ArtefactError, FactError, QualityError
from normgrowth.facts.records import Fact
from normgrowth.io.tensors import read_tensors, write_tensors
from normgrowth.lm.continuations import continuations
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.tokens import encode
from normgrowth.progress import Progress
from normgrowth.seeds import derive

TRAINING = "hypernetwork training"
"""Kind of file that a training's checkpoint is."""

LONGEST_GRADIENT = 1.0
"""Norm that gradients are clipped to."""

NEIGHBOURS_PER_FACT = 4
"""Prompts of each fact on which the divergence is taken."""

NORMALISATION = ("mean", "std")


@dataclass
class Trained:
    """Outcome of a training."""

    parameters: Parameters  # those of the best validation
    losses: list[tuple[int, float]]  # step and validation loss


@dataclass(frozen=True)
class Split:
    """Facts that train, and facts that only validate."""

    training: list[Fact]
    validation: list[Fact]


def split(facts: list[Fact], share: float, seed: int) -> Split:
    """A seeded split of facts, `share` of which only validate.

    Raises:
        FactError: when either part would be empty.
    """
    ordered = sorted(facts, key=lambda fact: derive(seed, "hypernetwork validation", fact.case_id))
    count = round(len(facts) * share)
    if not 0 < count < len(facts):
        raise FactError(f"{len(facts)} reserved facts are too few to train a hypernetwork: raise `reserved`")
    return Split(ordered[count:], ordered[:count])


class Checkpoint(NamedTuple):
    """File with the state of a training at its last validation."""

    path: Path
    identity: Mapping[str, object]  # metadata the file must carry to be continued; any other file is ignored


def train(lm: LanguageModel, network: Network, facts: Split, seed: int, checkpoint: Checkpoint) -> Trained:
    """Train until the validation loss stops falling; continue from `checkpoint` where it exists, and leave it there.

    Raises:
        QualityError: when the loss is no longer a number.
    """
    settings = network.settings
    loop = _Loop(lm, network, seed, facts.training)
    start = loop.resume(checkpoint)
    with Progress(settings.training_steps - start, "hypernetwork") as progress:
        if start == 0:
            loop.validated(0, _mean_loss(lm, network, loop.parameters, facts.validation, seed))
        for step in range(start + 1, settings.training_steps + 1):
            if loop.waited >= settings.patience:
                break
            loop.step(step)
            if step % settings.validate_every == 0 or step == settings.training_steps:
                loss = _mean_loss(lm, network, loop.parameters, facts.validation, seed)
                if not math.isfinite(loss):
                    raise QualityError(
                        f"training the hypernetwork gave a loss of {loss} at step {step}: lower its rates"
                    )
                loop.validated(step, loss)
                loop.save(checkpoint, step)
            progress.update(1, f"validation loss {min(loss for _, loss in loop.losses):.3f}")
    return Trained(loop.best, loop.losses)


class _Loop:
    """State of a training: parameters, optimiser, and the best parameters so far."""

    def __init__(self, lm: LanguageModel, network: Network, seed: int, facts: list[Fact]) -> None:
        self.lm, self.network, self.seed, self.facts = lm, network, seed, facts
        parameters = network.initial(*input_output_widths(lm, network.layers), seed)
        self.parameters = {name: tensor.to(lm.device) for name, tensor in parameters.items()}
        self.parameters |= _normalisation(lm, network, facts)
        self.trained = [name for name in self.parameters if name not in NORMALISATION]
        for name in self.trained:
            self.parameters[name].requires_grad_(True)
        rates = [self.parameters[name] for name in self.trained if name in ("rate", "rho")]
        others = [self.parameters[name] for name in self.trained if name not in ("rate", "rho")]
        groups: list[dict[str, Any]] = [{"params": others}]
        groups.append({"params": rates, "lr": network.settings.rate_learning_rate})
        self.adam = torch.optim.Adam(groups, lr=network.settings.learning_rate)
        self.best = self._copy()
        self.losses: list[tuple[int, float]] = []
        self.waited = 0

    def step(self, step: int) -> None:
        """One step of Adam, on edits drawn by the step's number."""
        random = Random(derive(self.seed, "hypernetwork step", step))
        settings = self.network.settings
        self.adam.zero_grad()
        for _ in range(settings.edits_per_step):
            facts = random.sample(self.facts, min(settings.batch, len(self.facts)))
            loss = _loss(self.lm, self.network, self.parameters, facts, random) / settings.edits_per_step
            loss.backward()
        torch.nn.utils.clip_grad_norm_([self.parameters[name] for name in self.trained], LONGEST_GRADIENT)
        self.adam.step()

    def validated(self, step: int, loss: float) -> None:
        """Note a validation loss, and keep the parameters if it is the best."""
        if not self.losses or loss < min(past for _, past in self.losses):
            self.best, self.waited = self._copy(), 0
        else:
            self.waited += 1
        self.losses.append((step, loss))

    def save(self, checkpoint: Checkpoint, step: int) -> None:
        """Save everything that the next step depends on."""
        tensors = {f"now.{name}": tensor for name, tensor in self.parameters.items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for number, state in self.adam.state_dict()["state"].items():
            tensors |= {f"adam.{number}.{name}": value for name, value in state.items()}
        metadata = {"identity": checkpoint.identity, "step": step, "losses": self.losses, "waited": self.waited}
        write_tensors(checkpoint.path, tensors, metadata, TRAINING)

    def resume(self, checkpoint: Checkpoint) -> int:
        """Continue from a checkpoint of the same training; the step it stands at, 0 where there is none."""
        if not checkpoint.path.exists():
            return 0
        try:
            tensors, metadata = read_tensors(checkpoint.path, TRAINING, str(self.lm.device))
        except ArtefactError as error:
            print(f"{error}; training starts again from its first step", flush=True)
            return 0
        if metadata["identity"] != checkpoint.identity:
            return 0
        with torch.no_grad():
            for name, tensor in self.parameters.items():
                tensor.copy_(tensors[f"now.{name}"])
        self.best = {name: tensors[f"best.{name}"] for name in self.parameters}
        state: dict[int, dict] = {}
        for name, value in tensors.items():
            if name.startswith("adam."):
                _, number, key = name.split(".")
                state.setdefault(int(number), {})[key] = value
        self.adam.load_state_dict({**self.adam.state_dict(), "state": state})
        self.losses = [(step, loss) for step, loss in metadata["losses"]]
        self.waited = metadata["waited"]
        return metadata["step"]

    def _copy(self) -> Parameters:
        return {name: tensor.detach().clone() for name, tensor in self.parameters.items()}


def _loss(
    lm: LanguageModel, network: Network, parameters: Parameters, facts: list[Fact], random: Random
) -> torch.Tensor:
    """Loss of one joint edit of the facts, made on the unedited model."""
    settings = network.settings
    _, tokens = token_gradients(lm, facts, network.layers, network.answer_tokens_only)
    changes = {}
    for number, layer in enumerate(network.layers):
        with naming(layer, facts):
            changes[layer] = network.update(parameters, number, tokens[layer])
    wanted = continuations(
        lm, [(prompt, fact.target_new) for fact in facts for prompt in (fact.question, *fact.paraphrases)]
    )
    neighbours = [
        prompt
        for fact in facts
        for prompt in random.sample(fact.neighbours, min(NEIGHBOURS_PER_FACT, len(fact.neighbours)))
    ]
    if not neighbours:
        with edited(lm, changes):
            return settings.edit_weight * wanted.losses(wanted.predictions(lm)).mean()
    ids, mask = lm.pad([encode(lm.tokenizer, prompt).ids for prompt in neighbours])
    with torch.no_grad():
        unedited = _next_token(lm, ids, mask)  # [neighbours, vocabulary]
    with edited(lm, changes):
        loss = settings.edit_weight * wanted.losses(wanted.predictions(lm)).mean()
        now = _next_token(lm, ids, mask)
        divergence = (unedited.exp() * (unedited - now)).sum(dim=1).mean()
        return loss + settings.locality_weight * divergence


def _next_token(lm: LanguageModel, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Log-probabilities [rows, vocabulary] of the token after each row."""
    last = mask.sum(dim=1) - 1
    hidden = lm.hidden(ids, mask)[torch.arange(len(ids), device=ids.device), last]
    return log_softmax(lm.logits(hidden).float(), dim=-1)


@torch.no_grad()
def _mean_loss(lm: LanguageModel, network: Network, parameters: Parameters, facts: list[Fact], seed: int) -> float:
    """Mean loss over edits of the facts, with the same neighbours in each validation."""
    batch = network.settings.batch
    losses = []
    for start in range(0, len(facts), batch):
        random = Random(derive(seed, "hypernetwork validation", facts[start].case_id))
        losses.append(_loss(lm, network, parameters, facts[start : start + batch], random).item())
    return sum(losses) / len(losses)


def _normalisation(lm: LanguageModel, network: Network, facts: list[Fact]) -> Parameters:
    """Mean and standard deviation of [x; g] over the training facts and the edited matrices.

    Published code keeps running averages; the model is frozen, so one pass gives their limit.
    """
    d, o = input_output_widths(lm, network.layers)
    total, square = torch.zeros(2, d + o, dtype=torch.float64, device=lm.device)
    count = 0
    for fact in facts:
        _, tokens = token_gradients(lm, [fact], network.layers, network.answer_tokens_only)
        for of_layer in tokens.values():
            # Tokens without a gradient take no part in an edit, and would only dilute the moments.
            present = (of_layer.gradients != 0).any(dim=1)
            rows = torch.cat([of_layer.inputs, of_layer.gradients], dim=1)[present].double()  # [m, d + o]
            count, total, square = count + len(rows), total + rows.sum(dim=0), square + rows.square().sum(dim=0)
    mean = total / count
    return {"mean": mean.float(), "std": (square / count - mean.square()).clamp(min=0).sqrt().float()}
