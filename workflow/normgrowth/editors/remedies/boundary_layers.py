"""BLUE: a locate-then-edit method at the first and the last of its layers alone (arXiv 2502.03748).

A method that spreads a batch writes a part of the residual at each of its layers, all towards values searched at the
last one. Here two layers are edited one after the other, each as if it were the only one: values are searched at the
layer itself, the second time on the model that the first edit left, and the whole residual is written there.
"""

from dataclasses import replace

from normgrowth.editors.base import Change, Editor, EditRecord, Memory, Resources, Trace
from normgrowth.facts.records import Fact
from normgrowth.lm.model import LanguageModel


class BoundaryLayers:
    """Two editors of one layer each, the lower one first, with a memory apart.

    Args:
        editors: the lower and the upper one.
    """

    def __init__(self, editors: tuple[Editor, Editor]) -> None:
        self.editors = editors
        self.layers = tuple(layer for editor in editors for layer in editor.layers)

    def prepare(self, lm: LanguageModel, resources: Resources) -> None:
        """Prepare both."""
        for editor in self.editors:
            editor.prepare(lm, resources)

    def begin(self, lm: LanguageModel) -> Memory:
        """The memories of both."""
        memory: Memory = {}
        for editor in self.editors:
            memory |= _own(editor, editor.begin(lm))
        return memory

    def edit(self, lm: LanguageModel, memory: Memory, facts: list[Fact]) -> Trace:
        """Edit with one after the other; see `Editor.edit`."""
        traces = []
        for editor in self.editors:
            mark = _mark(editor)
            own = {name.removeprefix(mark): tensor for name, tensor in memory.items() if name.startswith(mark)}
            traces.append(editor.edit(lm, own, facts))
            memory |= _own(editor, own)
        lower, upper = traces
        changes: dict[int, Change] | None = None
        if lower.changes is not None and upper.changes is not None:
            changes = lower.changes | upper.changes
        return Trace([_joined(*pair) for pair in zip(lower.records, upper.records, strict=True)], changes)


def _mark(editor: Editor) -> str:
    """The beginning of the names of an editor's tensors in the memory of both."""
    return f"layer_{editor.layers[0]}."


def _own(editor: Editor, memory: Memory) -> Memory:
    """An editor's memory under the names that it has in the memory of both."""
    return {_mark(editor) + name: tensor for name, tensor in memory.items()}


def _joined(lower: EditRecord, upper: EditRecord) -> EditRecord:
    """Record of both edits of a fact: the steps of both searches, key and residual of the lower layer, values of the
    upper."""
    return replace(
        upper,
        search_steps=(lower.search_steps or 0) + (upper.search_steps or 0),
        key_norm=lower.key_norm,
        residual_norm=lower.residual_norm,
        skipped_reason=lower.skipped_reason or upper.skipped_reason,
    )
