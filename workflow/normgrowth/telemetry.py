"""Norms of every edited matrix and of control matrices, after every step."""

from normgrowth.anatomy import Projection, frobenius
from normgrowth.language_model import LanguageModel


class NormTelemetry:
    """Watches the MLP down-projections and attention output projections of an unedited model.

    The editor's layers' down-projections are `edited`; all other watched matrices are `control`: they should not move,
    and are measured all the same. No copies of controls are kept: their drift is the change of their norm, which is a
    lower bound, and zero to the last bit only if nothing moved.
    """

    def __init__(self, lm: LanguageModel, edited_layers: tuple[int, ...]) -> None:
        anatomy = lm.anatomy
        self._edited = [anatomy.down_projections[layer] for layer in edited_layers]
        self._control = [p for p in anatomy.down_projections if p.layer not in edited_layers]
        self._control += list(anatomy.attention_outputs)
        self._original_norm = {p.name: frobenius(p.matrix) for p in self._edited + self._control}
        self._original = {p.name: p.matrix.clone() for p in self._edited}
        self._previous = dict(self._original)

    def rebase(self) -> None:
        """Take the weights as they are now for the end of the step before the next one."""
        self._previous = {p.name: p.matrix.clone() for p in self._edited}

    def rows(self, step: int) -> list[dict]:
        """One row of the table `norms` per matrix (without names of the run), for the change since the last call."""
        rows = [self._edited_row(p, step) for p in self._edited] + [self._control_row(p, step) for p in self._control]
        self.rebase()
        return rows

    def _edited_row(self, projection: Projection, step: int) -> dict:
        now, original = projection.matrix, self._original[projection.name]
        original_norm, norm = self._original_norm[projection.name], frobenius(now)
        drift = frobenius(now - original)
        # <W_t - W_0, W_0> from three norms, without another pass in float64.
        inner = (norm**2 - original_norm**2 - drift**2) / 2
        return self._row(
            projection,
            step,
            role="edited",
            frobenius=norm,
            delta_frobenius=frobenius(now - self._previous[projection.name]),
            drift_frobenius=drift,
            drift_cosine=inner / (drift * original_norm) if drift > 0 else None,
        )

    def _control_row(self, projection: Projection, step: int) -> dict:
        norm = frobenius(projection.matrix)
        difference = abs(norm - self._original_norm[projection.name])
        return self._row(
            projection,
            step,
            role="control",
            frobenius=norm,
            delta_frobenius=difference,
            drift_frobenius=difference,
            drift_cosine=None,
        )

    def _row(self, projection: Projection, step: int, **values: object) -> dict:
        ratio = values["frobenius"] / self._original_norm[projection.name]
        return {"step": step, "matrix": projection.name, "layer": projection.layer, "frobenius_ratio": ratio, **values}
