"""A segment's saved state, and the weights that it encodes.

A state holds what its own segment changed: the factors of each step's change where the editor knows them, or else the
changed matrices themselves and their biases; beside them the editor's memory. Weights are rebuilt by replaying the
chain of states from the unedited model, with the operations that made them, so they come out bit for bit. Each state
names its run and segment, the hash of the previous state, the model and the settings; one that does not fit is refused.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from normgrowth.editors.base import Change, Memory
from normgrowth.errors import ArtefactError
from normgrowth.io.identity import require
from normgrowth.io.provenance import file_sha256
from normgrowth.io.tensors import read_metadata, read_tensors, write_tensors
from normgrowth.layout import STATE_FILE, segment_folder
from normgrowth.lm.kept_weights import KeptWeights
from normgrowth.lm.model import LanguageModel

STATE = "state"
"""Kind of the tensor file of a state."""

DENSE, FACTORS = "dense", "factors"
"""Forms of a state: changed matrices themselves, or factors of each step's change."""


@dataclass
class SegmentState:
    """Content of a segment's state, beside the weights: the editor's memory, and the changes of each step."""

    layers: tuple[int, ...]  # that are edited
    memory: Memory
    steps: list[int] = field(default_factory=list)
    changes: list[dict[int, Change] | None] = field(default_factory=list)  # by layer; None where no factors are known

    def add(self, step: int, changes: dict[int, Change] | None) -> None:
        """Note the changes that led to `step`."""
        self.steps.append(step)
        self.changes.append(changes)


def save_state(
    chain: Path, number: int, lm: LanguageModel, state: SegmentState, metadata: Mapping[str, object]
) -> None:
    """Write the state of segment `number`, which ended with the model's current weights, into the run's folder.

    Raises:
        ArtefactError: when the disk is full.
    """
    tensors = {f"memory.{name}": tensor for name, tensor in state.memory.items()}
    known = [changes for changes in state.changes if changes is not None]
    ranks: list[int] = []
    if len(known) < len(state.changes):
        form = DENSE
        for layer in state.layers:
            for name, parameter in lm.anatomy.down_projections[layer].parameters.items():
                tensors[f"{name}.{layer}"] = parameter.detach().clone()
    else:
        form, ranks = FACTORS, [changes[state.layers[0]].left.shape[1] for changes in known]
        for layer in state.layers:
            tensors[f"left.{layer}"] = torch.cat([changes[layer].left for changes in known], dim=1)
            tensors[f"right.{layer}"] = torch.cat([changes[layer].right for changes in known], dim=1)
            scales = [changes[layer].scale for changes in known]
            tensors[f"scale.{layer}"] = torch.tensor(scales, dtype=torch.float64)
    of_state = {
        "form": form,
        "layers": list(state.layers),
        "steps": state.steps,
        "ranks": ranks,
        "parent": file_sha256(state_file(chain, number - 1)) if number > 1 else None,
    }
    write_tensors(state_file(chain, number), tensors, {**metadata, **of_state}, STATE)


def state_file(chain: Path | str, number: int) -> Path:
    """The state of segment `number`, counted from 1, in the folder of its run."""
    return segment_folder(chain, number) / STATE_FILE


def restore(
    lm: LanguageModel, chain: Path | str, segments: int, expected: Mapping[str, object], until: int | None = None
) -> Memory:
    """Bring an unedited model to the end of a chain's first `segments` segments; return the editor's memory.

    Args:
        expected: metadata that every state must carry (names of the run, model revision, settings, seed, ...).
        until: step after which changes are left out, where the states hold factors; the memory is that of the end.

    Raises:
        ArtefactError: when a state is missing, damaged, of another run or segment, or does not continue the
            previous one.
    """
    memory: Memory = {}
    parent = None
    for number in range(1, segments + 1):
        path = state_file(chain, number)
        tensors, metadata = read_tensors(path, STATE, str(lm.device))
        _require_of_run(path, metadata, number, expected)
        if metadata["parent"] != parent:
            before = state_file(chain, number - 1) if number > 1 else "the unedited model"
            raise ArtefactError(
                f"{path} grew from a state with hash {metadata['parent']}, but {before} has {parent}, so one of the "
                f"two is of another run; delete the folder {Path(chain)} and run the workflow again"
            )
        _replay(lm, tensors, metadata, path, until)
        memory = {
            name.removeprefix("memory."): tensor for name, tensor in tensors.items() if name.startswith("memory.")
        }
        parent = file_sha256(path)
    return memory


def _require_of_run(path: Path, metadata: dict, number: int, expected: Mapping[str, object]) -> None:
    remedy = f"delete the folder {path.parents[1]} and run the workflow again"
    require(path, metadata, {"segment": number, **expected}, remedy)


class EditedModel:
    """A model after some of its edits that can be switched back to the unedited one.

    Only the edited matrices and their biases are kept twice. `projections` are the edited matrices; none where the
    model is the unedited one.

    edited = EditedModel(lm, chain, segments, expected)      # lm is edited from here on
    with edited.undone():
        before = measured(lm)
    now = measured(lm)
    """

    @torch.no_grad()
    def __init__(self, lm: LanguageModel, chain: Path | str, segments: int, expected: Mapping[str, object]) -> None:
        """Edit `lm` in place, as `restore` does; with no segments it stays as it is."""
        layers = edited_layers(chain, segments, expected)
        self._lm, self._chain, self._segments, self._expected = lm, chain, segments, expected
        self.projections = [lm.anatomy.down_projections[layer] for layer in layers]
        self._unedited = KeptWeights(self.projections)
        if segments:
            restore(lm, chain, segments, expected)
        self._edited = KeptWeights(self.projections)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Restore the unedited model inside the block."""
        self._unedited.put_back()
        try:
            yield
        finally:
            self._edited.put_back()

    @property
    def steps(self) -> set[int]:
        """Steps of the last segment to which the model can be brought; none where its state is matrices alone."""
        if not self._segments:
            return set()
        metadata = read_metadata(state_file(self._chain, self._segments), STATE)
        return set(metadata["steps"]) if metadata["form"] == FACTORS else set()

    @contextmanager
    def at(self, step: int) -> Iterator[None]:
        """The model after `step` edits, one of `steps`, inside the block; `undone` works there too."""
        edited = self._edited
        self._unedited.put_back()
        restore(self._lm, self._chain, self._segments, self._expected, until=step)
        self._edited = KeptWeights(self.projections)
        try:
            yield
        finally:
            self._edited = edited
            edited.put_back()


def edited_layers(chain: Path | str, segments: int, expected: Mapping[str, object]) -> list[int]:
    """The layers that a chain's first `segments` segments have changed, ascending.

    Raises:
        ArtefactError: when a state is missing, damaged or of another run.
    """
    layers: set[int] = set()
    for number in range(1, segments + 1):
        path = state_file(chain, number)
        metadata = read_metadata(path, STATE)
        _require_of_run(path, metadata, number, expected)
        layers |= set(metadata["layers"])
    return sorted(layers)


@torch.no_grad()
def _replay(lm: LanguageModel, tensors: dict[str, torch.Tensor], metadata: dict, path: Path, until: int | None) -> None:
    for layer in metadata["layers"]:
        projection = lm.anatomy.down_projections[layer]
        if metadata["form"] == DENSE:
            for name, parameter in projection.parameters.items():
                if f"{name}.{layer}" not in tensors:
                    raise ArtefactError(
                        f"{path} holds no {name} of layer {layer}: another version of the package wrote it; delete the "
                        f"folder {path.parents[1]} and run the workflow again"
                    )
                parameter.copy_(tensors[f"{name}.{layer}"])
            continue
        left = tensors[f"left.{layer}"].split(metadata["ranks"], dim=1)
        right = tensors[f"right.{layer}"].split(metadata["ranks"], dim=1)
        scales = tensors[f"scale.{layer}"].tolist()
        for step, step_left, step_right, scale in zip(metadata["steps"], left, right, scales, strict=True):
            if until is None or step <= until:
                Change(step_left, step_right, scale).apply(projection)
