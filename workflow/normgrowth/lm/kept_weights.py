"""Copies of edited matrices and their biases, to put back or to compare with."""

from collections.abc import Sequence

import torch

from normgrowth.lm.anatomy import Projection


class KeptWeights:
    """The parameters of some projections as they are when this is made."""

    def __init__(self, projections: Sequence[Projection]) -> None:
        parameters = [parameter for projection in projections for parameter in projection.parameters.values()]
        self._kept = [(parameter, parameter.detach().clone()) for parameter in parameters]

    @torch.no_grad()
    def put_back(self) -> None:
        """Give the model these parameters again, bit for bit."""
        for parameter, before in self._kept:
            parameter.copy_(before)

    def are_there(self) -> bool:
        """Test for a model that has these parameters now."""
        return all(torch.equal(parameter, before) for parameter, before in self._kept)
