"""No name or value of a configuration leaves the results folder or becomes a command."""

import shlex

import pytest
import yaml

from normgrowth.errors import StudyError
from normgrowth.study.study_files import load_study, read_study
from normgrowth.workflow.cluster import read_site

HOSTILE = ["../up", "a/b", "/etc", ".", "..", "a b", "a;touch x", "$(touch x)", "`x`", "a\nb", "-rf", "ä", "A", ""]
HOSTILE.append("a" * 65)


def config():
    return yaml.safe_load(open("config.yaml", encoding="utf-8"))


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_words_that_mean_nothing_to_a_shell(name):
    given = config()
    for changed in (
        {"study": name},
        {"models": [name], "model_sources": {name: given["model_sources"]["world-gpt2"]}},
        {"editors": [name]},
        {"facts": name, "fact_sources": {name: {"kind": "world"}}},
        {"interventions": {name: {"kind": "continued_pretraining", "text": "world"}}},
        {"left_out": {name: ["ft"]}},
        {"more_orders": {name: {"ft": 2}}},
    ):
        with pytest.raises(StudyError):
            load_study(given | changed)


@pytest.mark.parametrize("value", ["main; touch x", "$(x)", "a b", "--wrap=x y", "'"])
def test_what_a_site_says_is_a_word(tmp_path, value):
    file = tmp_path / "site.yaml"
    for given in ({"account": value}, {"gpu": {"partition": value}}, {"cpu": {"qos": value}}):
        file.write_text(yaml.safe_dump(given))
        with pytest.raises(StudyError, match=r"error in .*site.yaml"):
            read_site(file)


def test_a_sites_keys_are_those_that_mean_something(tmp_path):
    file = tmp_path / "site.yaml"
    assert read_site(file).resources(with_gpu=True) == {}
    file.write_text("gpus: {partition: fast}\n")
    with pytest.raises(StudyError, match=r"key 'gpus' is unknown; did you mean 'gpu'\?"):
        read_site(file)
    file.write_text("account: me\ngpu: {partition: fast, model: h100}\ncpu: {partition: slow}\n")
    site = read_site(file)
    assert site.resources(True) == {"slurm_account": "me", "slurm_partition": "fast", "gpu_model": "h100"}
    assert site.resources(False) == {"slurm_account": "me", "slurm_partition": "slow"}


def test_yaml_makes_no_objects(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("study: !!python/object/apply:os.system ['touch x']\n")
    with pytest.raises(StudyError, match="is not YAML"):
        read_study(None)
    assert not (tmp_path / "x").exists()


def test_a_path_with_a_quote_stays_one_word(tmp_path):
    """Paths and settings are the only free text of a command; the workflow quotes both."""
    text = "it's; touch x"
    assert shlex.split(shlex.quote(text)) == [text]
