"""Norms along a run: what is told after a step follows from the weights alone."""

import pytest
import torch

from normgrowth.errors import EditError
from normgrowth.runs.telemetry import RECOUNT, NormTelemetry


def by_matrix(rows):
    return {row["matrix"]: row for row in rows}


def test_norms_are_those_of_float64(lm):
    torch.manual_seed(0)
    edited = lm.anatomy.down_projections[1]
    original = edited.matrix.double()
    telemetry = NormTelemetry(lm, (1,))
    before = original
    for step in (1, 2, 3):
        edited.matrix.add_(0.1 * torch.randn_like(edited.matrix))
        row = by_matrix(telemetry.rows(step))[edited.name]
        now = edited.matrix.double()
        assert row["frobenius"] == pytest.approx(now.norm().item(), rel=1e-12)
        assert row["delta_frobenius"] == pytest.approx((now - before).norm().item(), rel=1e-6)
        assert row["drift_frobenius"] == pytest.approx((now - original).norm().item(), rel=1e-6)
        cosine = ((now - original) * original).sum() / (now - original).norm() / original.norm()
        assert row["drift_cosine"] == pytest.approx(cosine.item(), abs=1e-5)
        before = now


def test_a_control_that_is_written_to_is_seen_at_once(lm):
    control = lm.anatomy.attention_outputs[0]
    norm = control.matrix.double().norm().item()
    telemetry = NormTelemetry(lm, (0,))
    assert by_matrix(telemetry.rows(1))[control.name]["drift_frobenius"] == 0.0
    control.matrix.mul_(2.0)
    row = by_matrix(telemetry.rows(2))[control.name]
    assert row["frobenius_ratio"] == pytest.approx(2.0)
    assert row["drift_frobenius"] == pytest.approx(norm)
    control.module.weight = torch.nn.Parameter(control.weight.detach().clone().mul_(1.5))  # another tensor in its place
    assert by_matrix(telemetry.rows(3))[control.name]["frobenius_ratio"] == pytest.approx(3.0)


@pytest.mark.parametrize("step", [RECOUNT, RECOUNT + 13, 3 * RECOUNT + 1])
def test_a_control_that_moves_unseen_is_an_error_at_the_next_recount(lm, step):
    unseen = f"at step {step}, though nothing is known to have written to it"
    control = lm.anatomy.attention_outputs[0]
    telemetry = NormTelemetry(lm, (0,))
    control.weight.data.mul_(2.0)
    telemetry.rows(RECOUNT - 1)
    with pytest.raises(EditError, match=unseen):
        telemetry.rows(step)
    with pytest.raises(EditError, match=unseen):
        telemetry.recount(step)
