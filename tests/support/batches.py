"""Batches for the writers of one layer: a small model's matrix, a second moment, keys and wanted values, in float64."""

import torch

from normgrowth.editors.base import Resources
from normgrowth.editors.locate.method import Located
from normgrowth.editors.moments import SecondMoment
from tests.support import small_models

LAYER = 1


class Batches:
    """Batches of keys K_s [d, b] with values V_s [o, b] that W K_s is to become, `size` times as large as W_0 K_s."""

    def __init__(self, seed=0, count=4, b=3, size=1.0, architecture="gpt2"):
        generator = torch.Generator().manual_seed(seed)
        self.lm = small_models.language_model_of(architecture)
        self.unedited = self.lm.anatomy.down_projections[LAYER].matrix.double()  # W_0 [o, d]
        o, d = self.unedited.shape

        def gaussian(*shape):
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        sample = gaussian(d, 3 * d) * torch.linspace(0.2, 2.0, d, dtype=torch.float64)[:, None]
        self.c = sample @ sample.T / (3 * d)
        self.keys = [gaussian(d, b) for _ in range(count)]
        scale = size * (self.unedited @ self.keys[0]).square().mean().sqrt()
        self.values = [scale * gaussian(o, b) for _ in range(count)]
        self.eye = torch.eye(d, dtype=torch.float64)
        self.resources = Resources(small_models.CONTEXTS, {LAYER: SecondMoment(self.c, 100, LAYER)})

    def located(self, matrix, number, residual=None):
        """What the writer sees of batch `number`, under these weights."""
        past = torch.cat(self.keys[:number], dim=1) if number else None
        keys = self.keys[number]
        wanted = self.values[number] - matrix @ keys if residual is None else residual
        return Located(LAYER, matrix, keys, keys, wanted, past)

    def prepared(self, writer):
        """The writer, ready for the first batch."""
        writer.prepare(self.lm, self.resources, (LAYER,))
        return writer

    def written(self, writer):
        """The matrices W_0, W_1, ... [o, d] and the memory after all batches."""
        memory, matrices = self.prepared(writer).begin(), [self.unedited]
        for number in range(len(self.keys)):
            change = writer.change(self.located(matrices[-1], number), memory)
            assert change.step.dtype == torch.float32
            matrices.append(matrices[-1] + change.step.double())
        return matrices, memory

    def solution(self, cost, count):
        """The W [o, d] that minimises tr((W - W_0) cost (W - W_0)ᵀ) + Σ ||W K_s - V_s||² over the first batches.

        As one least-squares problem of stacked rows, solved without normal equations.
        """
        root = torch.linalg.cholesky(cost)
        rows = torch.cat([root.T, *(keys.T for keys in self.keys[:count])])
        wanted = torch.cat([root.T @ self.unedited.T, *(values.T for values in self.values[:count])])
        return torch.linalg.lstsq(rows, wanted, driver="gelsd").solution.T


def close(a, b, tolerance=1e-6):
    """True where a and b differ by no more than the rounding of a float32 step."""
    return (a - b).norm() <= tolerance * b.norm()
