"""Copies of edited matrices and their biases, to put back or to compare with."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from normgrowth.lm.anatomy import Projection
from normgrowth.lm.model import LanguageModel


class KeptWeights:
    """The parameters of some projections as they are when this is made.

    `pairs` are the parameters, each with its kept values.
    """

    def __init__(self, projections: Sequence[Projection]) -> None:
        self.projections = projections
        parameters = [parameter for projection in projections for parameter in projection.parameters.values()]
        self.pairs = [(parameter, parameter.detach().clone()) for parameter in parameters]

    @classmethod
    def of(cls, lm: LanguageModel, layers: Sequence[int]) -> "KeptWeights":
        """Those of the layers' down-projections."""
        return cls([lm.anatomy.down_projections[layer] for layer in layers])

    @torch.no_grad()
    def put_back(self) -> None:
        """Give the model these parameters again, bit for bit."""
        for parameter, kept in self.pairs:
            parameter.copy_(kept)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model with these parameters inside the block, and with its present ones behind it."""
        present = KeptWeights(self.projections)
        self.put_back()
        try:
            yield
        finally:
            present.put_back()

    def are_there(self) -> bool:
        """Test for a model that has these parameters now."""
        return all(torch.equal(parameter, kept) for parameter, kept in self.pairs)
