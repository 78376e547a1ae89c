"""Norms of every edited matrix and of control matrices, after every step."""

from dataclasses import dataclass

import torch

from normgrowth.errors import EditError
from normgrowth.lm.anatomy import Projection, frobenius
from normgrowth.lm.model import LanguageModel

RECOUNT = 50
"""Edits between measurements of controls without a known write."""


@dataclass
class _Control:
    """A matrix that should not change, with its norm after the last write to it."""

    projection: Projection
    norm: float
    written: tuple[int, int]  # where its weight lies, and torch's count of the changes made to it in place

    @classmethod
    def of(cls, projection: Projection) -> "_Control":
        """The control in its current state."""
        return cls(projection, frobenius(projection.matrix), _written(projection))


class NormTelemetry:
    """Watches the MLP down-projections and attention output projections of an unedited model.

    The editor's layers' down-projections are `edited`; all other watched matrices are `control`: they should not move,
    and are measured whenever something has written to them and every `RECOUNT` edits. No copies of controls are kept:
    their drift is the change of their norm, which is a lower bound, and zero to the last bit only if nothing moved.
    Rows of a step follow from the weights alone, so that a split run gives the same rows.
    """

    def __init__(self, lm: LanguageModel, edited_layers: tuple[int, ...]) -> None:
        anatomy = lm.anatomy
        self._edited = [anatomy.down_projections[layer] for layer in edited_layers]
        controls = [p for p in anatomy.down_projections if p.layer not in edited_layers]
        self._control = [_Control.of(p) for p in (*controls, *anatomy.attention_outputs)]
        self._original_norm = {p.name: frobenius(p.matrix) for p in self._edited}
        self._original_norm |= {control.projection.name: control.norm for control in self._control}
        self._original = {p.name: p.matrix.clone() for p in self._edited}
        self._previous = {p.name: p.matrix.clone() for p in self._edited}
        self._recounts = 0
        self._difference = {p.name: torch.empty_like(self._original[p.name]) for p in self._edited}

    def rebase(self) -> None:
        """Take the current weights as the start of the next step."""
        for projection in self._edited:
            self._previous[projection.name].copy_(projection.matrix)

    def rows(self, step: int) -> list[dict]:
        """Rows of table `norms`, one per matrix, for the change since the last call.

        Returns:
            `step, matrix, layer, role, frobenius, frobenius_ratio` (to the unedited norm), `delta_frobenius` (of the
            change), `drift_frobenius` (from the unedited matrix), `drift_cosine` (of drift and unedited matrix).

        Raises:
            EditError: when a control has moved unseen.
        """
        if step // RECOUNT != self._recounts:
            self.recount(step)
        rows = [self._edited_row(projection, step) for projection in self._edited]
        rows += [self._control_row(control, step) for control in self._control]
        self.rebase()
        return rows

    def recount(self, step: int) -> None:
        """Measure controls without a known write; also called at the end of a run.

        Raises:
            EditError: when one has moved unseen.
        """
        self._recounts = step // RECOUNT
        for control in self._control:
            name, written = control.projection.name, _written(control.projection)
            if written == control.written and (norm := frobenius(control.projection.matrix)) != control.norm:
                raise EditError(
                    f"{name} had a norm of {control.norm} and has {norm} at step {step}, though nothing is known to "
                    "have written to it: editors must change matrices through torch, without `.data`"
                )

    def _edited_row(self, projection: Projection, step: int) -> dict:
        now, original = projection.matrix, self._original[projection.name]
        original_norm, norm = self._original_norm[projection.name], frobenius(now)
        drift = self._distance(projection, original)
        # <W_t - W_0, W_0> from three norms, without another pass in float64.
        inner = (norm**2 - original_norm**2 - drift**2) / 2
        return self._row(
            projection,
            step,
            norm,
            role="edited",
            delta_frobenius=self._distance(projection, self._previous[projection.name]),
            drift_frobenius=drift,
            drift_cosine=inner / (drift * original_norm) if drift > 0 else None,
        )

    def _distance(self, projection: Projection, other: torch.Tensor) -> float:
        difference = self._difference[projection.name]  # a buffer made once: allocation costs more than the subtraction
        return frobenius(torch.sub(projection.matrix, other, out=difference))

    def _control_row(self, control: _Control, step: int) -> dict:
        projection, written = control.projection, _written(control.projection)
        if written != control.written:
            control.norm, control.written = frobenius(projection.matrix), written
        difference = abs(control.norm - self._original_norm[projection.name])
        return self._row(
            projection,
            step,
            control.norm,
            role="control",
            delta_frobenius=difference,
            drift_frobenius=difference,
            drift_cosine=None,
        )

    def _row(self, projection: Projection, step: int, norm: float, **values: object) -> dict:
        return {
            "step": step,
            "matrix": projection.name,
            "layer": projection.layer,
            "frobenius": norm,
            "frobenius_ratio": norm / self._original_norm[projection.name],
            **values,
        }


def _written(projection: Projection) -> tuple[int, int]:
    """The address of a weight, and torch's count of the changes made to it in place."""
    return projection.weight.data_ptr(), projection.weight._version
