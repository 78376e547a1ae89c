"""Whole models trained on: norms against plain computations, and the verdicts on them."""

import numpy as np
import pandas as pd
import pytest
import torch
from peft.tuners.lora import LoraLayer
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import save_file

from normgrowth.claims.judge import judge
from normgrowth.cli import main
from normgrowth.errors import EditError, ModelError
from normgrowth.io.documents import write_json, write_text
from normgrowth.io.provenance import file_sha256
from normgrowth.io.schemas import SCHEMAS
from normgrowth.io.tables import read_provenance, read_table
from normgrowth.sources.manifest import revision
from normgrowth.study.sections import Intervention
from normgrowth.training.norms import compare_checkpoints, layer_of, of_adapters
from normgrowth.training.trainers import continued_pretraining, full_fine_tuning, lora_fine_tuning
from normgrowth.training.training_settings import InterventionTraining
from tests.support import planted, small_models

SETTINGS = InterventionTraining(steps=4, batch=2, window=8, norms_every=2, rank=4, learning_rate=0.01)
PAIRS = [(fact.question, fact.target_true) for fact in small_models.facts()]


def quiet(*_):
    """Reports nothing."""


@pytest.fixture(params=small_models.ARCHITECTURES)
def lm(request):
    return small_models.language_model_of(request.param)


def text(count=8, length=8):
    return torch.randint(1, 300, (count, length), generator=torch.Generator().manual_seed(0))


TRAININGS = {
    "continued_pretraining": lambda lm: continued_pretraining(lm, text(), SETTINGS, quiet),
    "full_fine_tuning": lambda lm: full_fine_tuning(lm, PAIRS, SETTINGS, 0, quiet),
    "lora_fine_tuning": lambda lm: lora_fine_tuning(lm, PAIRS, SETTINGS, 0, quiet),
}


@pytest.mark.parametrize("kind", ["continued_pretraining", "full_fine_tuning"])
def test_norms_are_those_of_the_trained_matrices(lm, kind):
    before = {name: p.detach().clone() for name, p in lm.model.named_parameters() if p.dim() == 2}
    rows = TRAININGS[kind](lm)
    assert sorted(rows["step"].unique()) == [0, 2, 4]
    last = rows[rows["step"] == 4].set_index("matrix")
    after = dict(lm.model.named_parameters())
    assert set(last.index) == set(before)
    for name, start in before.items():
        end = after[name].detach()
        assert last.loc[name, "frobenius_ratio"] == pytest.approx((end.norm() / start.norm()).item(), rel=1e-5)
        assert last.loc[name, "drift_frobenius"] == pytest.approx((end - start).norm().item(), rel=1e-4)
    assert (last["drift_frobenius"] > 0).all()


def test_norms_of_adapted_matrices_are_those_of_merged_ones(lm):
    before = {name: p.detach().clone() for name, p in lm.model.named_parameters() if p.dim() == 2}
    rows = TRAININGS["lora_fine_tuning"](lm)
    last = rows[rows["step"] == 4].set_index("matrix")
    adapted = {name: m for name, m in lm.model.named_modules() if isinstance(m, LoraLayer)}
    assert {f"{name}.weight" for name in adapted} == set(last.index) and "head" not in "".join(last.index)
    for name, module in adapted.items():
        start = before[f"{name}.base_layer.weight" if f"{name}.weight" not in before else f"{name}.weight"]
        assert torch.equal(module.base_layer.weight, start)
        change = module.get_delta_weight("default").detach()
        merged = (start + change).norm().item()
        assert last.loc[f"{name}.weight", "frobenius"] == pytest.approx(merged, rel=1e-5)
        assert last.loc[f"{name}.weight", "drift_frobenius"] == pytest.approx(change.norm().item(), rel=1e-4)


def test_the_norm_of_a_merged_matrix_needs_no_merging():
    generator = torch.Generator().manual_seed(0)
    w, a, b = (torch.randn(*shape, generator=generator) for shape in ((6, 9), (2, 9), (6, 2)))
    watched = of_adapters({"block.3.w": (w, a, torch.zeros_like(b), 0.5)})
    assert watched.rows(0)[0]["frobenius_ratio"] == 1
    (row,) = of_adapters({"block.3.w": (w, a, b, 0.5)}).rows(1)
    assert row["frobenius"] == pytest.approx((w + 0.5 * b @ a).norm().item())
    assert row["layer"] == 3 and layer_of("wte.weight") is None


@pytest.mark.parametrize("kind", TRAININGS)
def test_equal_runs_give_equal_norms(kind):
    first, second = (TRAININGS[kind](small_models.language_model_of("gpt2")) for _ in range(2))
    assert first.equals(second)


def test_a_diverging_training_says_so():
    lm = small_models.language_model_of("gpt2")
    lm.anatomy.down_projections[0].weight.fill_(float("nan"))
    with pytest.raises(EditError, match=r"its loss is nan at step 1; lower learning_rate"):
        continued_pretraining(lm, text(), SETTINGS, quiet)


def checkpoint(folder, **tensors):
    folder.mkdir()
    for name in ("config.json", "tokenizer.json"):  # not read, and yet a model has them
        (folder / name).write_text("{}")
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return folder


def test_checkpoints_are_compared_matrix_by_matrix(tmp_path):
    w, bias = torch.randn(4, 3), torch.randn(4)
    base = checkpoint(tmp_path / "base", **{"h.2.w": w, "bias": bias, "gone": w})
    result = checkpoint(tmp_path / "result", **{"h.2.w": (2 * w).half(), "bias": bias})
    rows = compare_checkpoints(base, result)
    assert rows["matrix"].tolist() == ["h.2.w"] * 2 and rows["step"].tolist() == [0, 1]
    assert rows["frobenius_ratio"].tolist() == pytest.approx([1, 2], rel=1e-3)
    assert rows["drift_frobenius"].iloc[1] == pytest.approx(w.norm().item(), rel=1e-3)
    other = checkpoint(tmp_path / "other", **{"h.2.w": torch.randn(5, 3)})
    with pytest.raises(ModelError, match=r"h.2.w is \(4, 3\) in .* and \(5, 3\) in"):
        compare_checkpoints(base, other)
    with pytest.raises(ModelError, match="no weight matrix of the same name"):
        compare_checkpoints(base, checkpoint(tmp_path / "strange", v=w))


@pytest.mark.parametrize("spoilt", ["base", "result"])
def test_checkpoints_other_than_their_manifests_say_are_not_compared(tmp_path, capsys, spoilt):
    base, result = (small_models.save("gpt2", tmp_path / name) for name in ("base", "result"))
    capsys.readouterr()  # what transformers says while it saves
    weights = tmp_path / spoilt / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    names = ["--study", "s", "--model-name", "m", "--editor-name", "mine", "--order", "0", "--model", base]
    rest = ["--kind", "full_fine_tuning", "--result", result, "--out", tmp_path / "out.parquet"]
    assert main([str(word) for word in ("intervene", *names, *rest)]) == 1
    said = f"normgrowth intervene: model folder {tmp_path / spoilt} cannot be loaded: model.safetensors is not the file"
    assert capsys.readouterr().err.startswith(said)
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize("kind", TRAININGS)
def test_the_command_writes_the_table(tmp_path, kind):
    folder, out = small_models.save("llama", tmp_path / "model"), tmp_path / "out.parquet"
    write_text(tmp_path / "text.txt", "\n\n".join(small_models.SENTENCES * 3))
    write_json(tmp_path / "facts.json", small_models.records())
    data = ["--text", tmp_path / "text.txt"] if kind.startswith("cont") else ["--facts", tmp_path / "facts.json"]
    names = ["--study", "s", "--model-name", "m", "--editor-name", "mine", "--order", "0", "--model", folder]
    rest = ["--kind", kind, "--settings", SETTINGS.model_dump_json(), "--out", out]
    assert main([str(word) for word in ("intervene", *names, *data, *rest)]) == 0
    made_by = read_provenance(out)
    assert made_by["model_revision"] == revision(folder) and made_by["data"] == file_sha256(data[1])
    rows = read_table(out, "interventions")
    assert set(rows["kind"]) == {kind} and set(rows["editor"]) == {"mine"} and rows["step"].max() == 4
    last = rows[rows["step"] == 4].pivot(index="matrix", columns="order", values="frobenius_ratio")
    assert list(last) == [0, 1, 2] and not last[0].equals(last[1])


@pytest.mark.parametrize("kind", ["continued_pretraining", "full_fine_tuning"])
def test_changed_data_are_named_before_any_training(tmp_path, capsys, kind):
    folder, data = small_models.save("gpt2", tmp_path / "model"), tmp_path / "data"
    write_text(data, "\n\n".join(small_models.SENTENCES))
    data.write_text(data.read_text().replace("Rome", "Roma", 1))
    names = ["--study", "s", "--model-name", "m", "--editor-name", "mine", "--order", "0", "--model", folder]
    rest = ["--kind", kind, "--text" if kind.startswith("cont") else "--facts", data, "--out", tmp_path / "out.parquet"]
    assert main([str(word) for word in ("intervene", *names, *rest)]) == 1
    said = (
        f"normgrowth intervene: {data} is damaged (its bytes do not match the digest that data.sha256 beside it says)"
    )
    assert capsys.readouterr().err.splitlines()[-1].startswith(said)


def interventions(*runs, kind="full_fine_tuning"):
    """Table interventions of one imagined training, the ratios of each run's matrices given."""
    rows = []
    for order, ratios in enumerate(runs):
        for name, ratio in ratios.items():
            for step, value in ((0, 1.0), (10, ratio)):
                identity = {"study": "s", "model": "m", "editor": "mine", "order": order, "step": step, "kind": kind}
                norms = {"frobenius": 5 * value, "frobenius_ratio": value, "drift_frobenius": step * 0.1}
                rows.append({**identity, "matrix": name, "layer": 0, **norms})
    return pd.DataFrame(rows)[SCHEMAS["interventions"].names]


@pytest.mark.parametrize(
    ("runs", "status"),
    [
        ([{"a": 1.02, "b": 1.04}], "supported"),  # one run is exact, and speaks of itself
        ([{"a": 1.02, "b": 1.04}, {"a": 1.021, "b": 1.041}, {"a": 1.019, "b": 1.039}], "supported"),
        ([{"a": 1.02, "b": 1.04}, {"a": 1.0, "b": 1.0}, {"a": 1.05, "b": 1.0}], "undecided"),
        ([{"a": 1.001, "b": 1.002}, {"a": 1.002, "b": 1.001}, {"a": 1.0, "b": 1.001}], "negligible"),
        ([{"a": 0.97, "b": 0.98}, {"a": 0.971, "b": 0.979}, {"a": 0.97, "b": 0.98}], "opposite"),
        ([{"a": 1.01, "b": np.nan}], "collapsed"),
    ],
)
def test_the_unit_is_a_training_run_and_not_a_matrix(runs, status):
    judged = judge(planted.tables() | {"interventions": interventions(*runs)})
    claims = {claim["id"]: claim for claim in judged["claims"]}
    (found,) = claims["full_fine_tuning_grows"]["verdicts"]
    assert (found["status"], found["orders"]) == (status, len(runs))
    assert "needs" in claims["continued_pretraining_grows"]


def test_an_intervention_names_its_data():
    read = TypeAdapter(Intervention).validate_python
    assert read({"kind": "continued_pretraining", "text": "t"}).training.steps == 100
    assert read({"kind": "checkpoint_difference", "intervention": "lora_fine_tuning", "base": "a", "result": "b"})
    with pytest.raises(ValidationError, match="full_fine_tuning is trained on facts: give that, and no text"):
        read({"kind": "full_fine_tuning", "text": "t"})
