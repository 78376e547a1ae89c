"""Each fact edited alone on the unedited model, scored, and undone: what an editor does before edits pile up."""

import pandas as pd
import torch

from normgrowth.editors.base import Editor, Memory
from normgrowth.facts.records import Fact
from normgrowth.lm.anatomy import frobenius
from normgrowth.lm.model import LanguageModel
from normgrowth.measure.scores import score_facts


@torch.no_grad()
def score_single_edits(lm: LanguageModel, editor: Editor, memory: Memory, facts: list[Fact]) -> pd.DataFrame:
    """Scores of each fact after its own edit; the parameters end bit for bit as before.

    Returns:
        The columns of `score_facts`, and `delta_frobenius`, the norm of the edit's change over all edited matrices
        (not their biases).
    """
    projections = [lm.anatomy.down_projections[layer] for layer in editor.layers]
    parameters = [parameter for projection in projections for parameter in projection.parameters.values()]
    unedited = [parameter.clone() for parameter in parameters]
    matrices = [projection.matrix.clone() for projection in projections]
    scores = []
    for fact in facts:
        with torch.enable_grad():
            editor.edit(lm, {name: tensor.clone() for name, tensor in memory.items()}, [fact])
        changes = [frobenius(now.matrix - before) for now, before in zip(projections, matrices, strict=True)]
        norm = sum(change**2 for change in changes) ** 0.5
        scores.append(score_facts(lm, [fact]).assign(delta_frobenius=norm))
        for parameter, original in zip(parameters, unedited, strict=True):
            parameter.copy_(original)
    return pd.concat(scores, ignore_index=True)
