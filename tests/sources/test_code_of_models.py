"""Code beside a model: none of it is run, linked or asked about."""

import os
import pty
import subprocess
import sys
import time

import pytest
import torch

from normgrowth.cli import main
from normgrowth.errors import ModelError
from normgrowth.sources.loading import load_model
from normgrowth.workflow import forks
from tests.support import small_models
from tests.support.checkpoints import configure, saved

MODEL_CODE = {
    "AutoConfig": "modeling_trap.TrapConfig",
    "AutoModel": "modeling_trap.TrapModel",
    "AutoModelForCausalLM": "modeling_trap.TrapModel",
    "AutoTokenizer": ["modeling_trap.TrapTokenizer", "modeling_trap.TrapTokenizer"],
}
WHOSE = {name: ref if isinstance(ref, list) else f"owner/trap--{ref}" for name, ref in MODEL_CODE.items()}


@pytest.fixture(params=small_models.ARCHITECTURES)
def trapped(request, tmp_path):
    """A model folder in which every file of code leaves a mark when it is run, and the mark."""
    folder, mark = saved(request.param, tmp_path / "model"), tmp_path / "mark"
    code = f"open({str(mark)!r}, 'w').close()\nraise SystemExit('run')\n"
    for name in ("modeling_trap.py", "configuration_trap.py", "tokenizer.py", "__init__.py", "setup.py"):
        (folder / name).write_text(code)
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(code)
    (folder / "pytorch_model.bin").write_bytes(b"pickled")
    return request.param, folder, mark


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch):
    def asked(*_):
        raise AssertionError("somebody was asked")

    monkeypatch.setattr("builtins.input", asked)


@pytest.mark.parametrize("code", [MODEL_CODE, WHOSE, ["modeling_trap.TrapConfig"], "modeling_trap.TrapConfig"])
def test_a_known_architecture_is_loaded_by_its_own_class(trapped, code, tmp_path):
    architecture, folder, mark = trapped
    configure(folder, auto_map=code)
    configure(folder, "tokenizer_config.json", auto_map=code if isinstance(code, dict) else MODEL_CODE)
    configure(folder, "generation_config.json", auto_map=code, custom_generate="owner/trap")
    out = tmp_path / "imported"
    assert main(["import-model", "--path", str(folder), "--out", str(out)]) == 0
    expected = small_models.model_of(architecture).state_dict()
    for place in (folder, out):
        model = load_model(place).model
        assert type(model).__module__.startswith("transformers.models.")
        assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    assert not mark.exists()
    assert not [path for path in out.rglob("*") if path.suffix in (".py", ".bin", ".pt", ".pkl")]


@pytest.mark.parametrize("kind", ["trap", "trap-gpt2"])
def test_an_unknown_architecture_is_refused(trapped, kind, tmp_path, capsys):
    _, folder, mark = trapped
    configure(folder, auto_map=MODEL_CODE, model_type=kind)
    assert main(["import-model", "--path", str(folder), "--out", str(tmp_path / "imported")]) == 1
    said = capsys.readouterr().err.strip()
    assert "transformers has no such model_type, and code of its own (auto_map) is never run" in said
    assert "\n" not in said
    with pytest.raises(ModelError, match="auto_map"):
        load_model(folder)
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["TrapTokenizer", "TrapTokenizerFast", None])
@pytest.mark.parametrize("code", [MODEL_CODE, MODEL_CODE["AutoTokenizer"]])
def test_a_tokenizer_of_its_own_code_is_refused(trapped, kind, code, tmp_path, capsys):
    _, folder, mark = trapped
    configure(folder, "tokenizer_config.json", auto_map=code, tokenizer_class=kind)
    assert main(["import-model", "--path", str(folder), "--out", str(tmp_path / "imported")]) == 1
    said = capsys.readouterr().err.strip()
    assert "tokenizer_config.json names code of its own for the tokenizer (auto_map), which is never run" in said
    assert "\n" not in said
    with pytest.raises(ModelError, match="auto_map"):
        load_model(folder)
    assert not mark.exists()


@pytest.mark.parametrize("trapped", ["gpt2"], indirect=True)  # its code is named beside a type that nobody knows
@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_asks_whoever_sits_there(trapped, terminal, tmp_path):
    _, folder, mark = trapped
    configure(folder, auto_map=MODEL_CODE, model_type="trap")
    command = [sys.executable, "-m", "normgrowth.cli", "import-model", "--path", folder, "--out", tmp_path / "imported"]
    ours, theirs = pty.openpty()
    os.write(ours, b"y\ny\ny\n")
    began = time.monotonic()
    run = subprocess.run(
        command,
        stdin=theirs if terminal else subprocess.DEVNULL,
        stdout=theirs if terminal else subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {forks.VARIABLE: ""},
        text=True,
        timeout=300,
    )
    spent = time.monotonic() - began
    os.close(ours)
    os.close(theirs)
    assert run.returncode == 1
    assert run.stderr.startswith("normgrowth import-model: ") and run.stderr.count("\n") == 1
    assert "y/N" not in run.stderr
    assert not mark.exists()
    assert spent < 120  # of which importing torch is most
