"""Sources on the web in a study: what is refused, and what is known before anything is fetched."""

import json
import sys

import pytest

from normgrowth.errors import StudyError
from normgrowth.facts.almanac.records import almanac_records
from normgrowth.facts.streams import Stream, facts_taken
from normgrowth.study import presets
from normgrowth.study.checks import lengths_asked
from normgrowth.study.costs import costs
from normgrowth.study.downloads import Download, every_download, needed_downloads, needed_models, published_sets
from normgrowth.study.inputs import editable_facts, layers_of, weights_megabytes
from normgrowth.study.inputs_of_runs import Files
from normgrowth.study.plan import Plan
from normgrowth.study.sections import IncludedFacts, PublishedFacts
from normgrowth.study.study_files import load_study
from tests.study.test_study import STUDY, laid_over, message
from tests.support.web import REVISION

GPT2_XL = {"kind": "hub", "repo": "openai-community/gpt2-xl", "revision": REVISION}
HASHES = ["a" * 64, "b" * 64]
INCLUDED = {"kind": "included", "name": "almanac"}
URL_FACTS = {"kind": "url", "url": "https://example.org/facts.json", "sha256": HASHES[0]}


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))


def of_hub(name: str = "gpt2-xl", **source: object) -> dict:
    return {"models": [name], "model_sources": {name: GPT2_XL | source}}


def of_web(kind: str, source: dict) -> dict:
    return {{"fact": "facts", "text": "text"}[kind]: "web", f"{kind}_sources": {"web": source}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            of_hub(revision="main"),
            "model_sources.gpt2-xl.revision is 'main': a branch, a tag or a short hash can come to mean other weights; "
            "give the full hash of a commit, 40 digits of 0-9 and a-f: they stand at "
            "https://huggingface.co/openai-community/gpt2-xl/commits/main",
        ),
        (of_hub(revision=REVISION[:12]), "revision is '0123456789ab': a branch, a tag or a short hash"),
        (
            {"models": ["x"], "model_sources": {"x": {"kind": "hub", "repo": "owner/x"}}},
            "model_sources.x.revision is missing (Full hash of the commit",
        ),
        (of_hub(repo="gpt2-xl"), "repo is 'gpt2-xl': a repository is owner/name, as in"),
        (of_hub(repo="a/b; rm -r ."), "repo is 'a/b; rm -r .': a repository is owner/name"),
        (
            of_hub("mine", repo="owner/mine"),
            "model_sources.mine: nothing says how many layers owner/mine has before it is fetched: set layers, or "
            "published_as to one of gpt2-xl, gpt-j-6b,",
        ),
        (of_web("fact", URL_FACTS | {"url": "file:///etc/passwd"}), "an address begins with http:// or https://"),
        (of_web("fact", URL_FACTS | {"sha256": "abc"}), "fact_sources.web.sha256 is 'abc': a SHA-256 is 64 digits"),
        (of_web("fact", {"kind": "url", "sha256": HASHES[0]}), "fact_sources.web.url is missing (Address of the file"),
        (
            of_web("fact", {"kind": "published", "name": "zsre"}),
            "fact_sources.web.name: published set 'zsre' is unknown (known: counterfact)",
        ),
        (
            of_web("fact", {"kind": "published", "name": "counterfact"}) | {"edits": 30_000},
            "edits is 30000: 'web' holds 21919 facts, and at most 21919 can be edited",
        ),
        (of_web("fact", URL_FACTS | {"limit": 100}), "edits is 200: 'web' holds 100 facts"),
        (
            of_web("fact", INCLUDED | {"limit": 100}),
            "edits is 200: 'web' holds 100 facts, and at most 100 can be edited",
        ),
        (
            of_web("fact", INCLUDED | {"known": True}) | {"edits": 20_000},
            f"edits is 20000: 'web' holds {len(almanac_records(0))} facts, and at most",
        ),
        (
            of_web("fact", INCLUDED | {"name": "atlas"}),
            "fact_sources.web.name: value 'atlas' is unknown (known: almanac)",
        ),
        (of_web("fact", INCLUDED | {"known": "most"}), "fact_sources.web.known is 'most': should be true or false"),
        (
            of_web("text", {"kind": "url", "urls": ["https://example.org/a"], "sha256": HASHES}),
            "there are 1 urls, so there must be as many hashes and not 2",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_fetched(changes, said):
    assert said in message(changes)


def test_a_published_model_is_planned_without_fetching_it():
    study = load_study(laid_over(STUDY, of_hub("big") | {"models": ["big"]}))
    assert layers_of(study, "big") == 48
    assert weights_megabytes(study, "big") == 4 * 1_557_000_000 // 2**20
    assert Plan(study).editor("big", "memit").settings.layers == (13, 14, 15, 16, 17)
    assert "huggingface_hub" not in sys.modules or "torch" in sys.modules


@pytest.mark.parametrize(
    ("repo", "published"),
    [
        ("openai-community/gpt2-xl", "gpt2-xl"),
        ("EleutherAI/gpt-j-6b", "gpt-j-6b"),
        ("meta-llama/Llama-2-7b-hf", "llama-2-7b"),
        ("meta-llama/Meta-Llama-3-8B", "llama-3-8b"),
    ],
)
def test_repositories_of_published_models_are_known(repo, published):
    study = load_study(laid_over(STUDY, of_hub("mine", repo=repo) | {"edits": 200, "segment": 100}))
    assert layers_of(study, "mine") == presets.dimensions(published).layers


def test_the_cache_knows_better_than_the_study(tmp_path):
    study = load_study(laid_over(STUDY, of_hub("mine", repo="owner/mine", layers=30)))
    assert layers_of(study, "mine") == 30
    folder = tmp_path / "hub" / "models--owner--mine" / "snapshots" / REVISION
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"num_hidden_layers": 31}')
    assert layers_of(study, "mine") == 31


def test_files_that_a_study_fetches():
    texts = {"kind": "url", "urls": ["https://example.org/a", "https://example.org/b"], "sha256": HASHES}
    counterfact = published_sets()["counterfact"].file
    changes = of_web("fact", {"kind": "published", "name": "counterfact"}) | {"text_sources": {"other": texts}}
    study = load_study(laid_over(STUDY, changes))
    assert every_download(study) == {
        counterfact.sha256: counterfact,
        HASHES[0]: Download("https://example.org/a", HASHES[0]),
        HASHES[1]: Download("https://example.org/b", HASHES[1]),
    }
    assert needed_downloads(study) == [f"resources/web/{counterfact.sha256}"]
    assert needed_downloads(load_study(STUDY)) == []


def test_interventions_take_models_and_files_too():
    tuned = GPT2_XL | {"repo": "owner/tuned", "layers": 48}
    texts = {"kind": "url", "urls": ["https://example.org/a"], "sha256": HASHES[:1]}
    changes = {
        "model_sources": {"base": GPT2_XL, "tuned": tuned},
        "text_sources": {"other": texts},
        "interventions": {
            "tuning": {
                "kind": "checkpoint_difference",
                "intervention": "full_fine_tuning",
                "base": "base",
                "result": "tuned",
            },
            "more": {"kind": "continued_pretraining", "text": "other"},
        },
    }
    study = load_study(laid_over(STUDY, changes))
    assert needed_models(study) == {*STUDY["models"], "base", "tuned"}
    assert needed_downloads(study) == [f"resources/web/{HASHES[0]}"]


def test_costs_of_a_model_that_is_yet_to_be_fetched():
    study = load_study(laid_over(STUDY, of_hub("mine", repo="owner/mine", layers=30)))
    with pytest.raises(StudyError, match="the shape of 'mine' is known once it is fetched: run `snakemake downloads`"):
        costs(study)


def test_a_published_set_is_that_set_only_whole():
    whole = PublishedFacts(kind="published", name="counterfact")
    assert whole.published_as == "counterfact"
    assert editable_facts(whole, None, unique_subjects=True) == 20_391
    assert editable_facts(whole, None, unique_subjects=False, stream=Stream(put_back=0.1)) == 21_216
    part = PublishedFacts(kind="published", name="counterfact", limit=1000)
    assert part.published_as is None
    assert editable_facts(part, None, unique_subjects=True) == 1000
    study = load_study(laid_over(STUDY, of_web("fact", {"kind": "published", "name": "counterfact"})))
    assert Plan(study).conditions["facts"] == "counterfact"
    streamed = study.model_copy(update={"stream": Stream(put_back=0.1)})
    assert Plan(streamed).conditions["facts"] is None  # published numbers are of facts that are edited once


def test_included_facts_are_counted_without_making_them():
    records = almanac_records(0)
    subjects = {record["requested_rewrite"]["subject"].casefold() for record in records}
    for limit, facts in ((None, len(records)), (100, 100)):
        source = IncludedFacts(**INCLUDED, limit=limit)
        assert editable_facts(source, None, unique_subjects=False) == facts
    assert editable_facts(IncludedFacts(**INCLUDED), None, unique_subjects=True) == len(subjects)
    assert editable_facts(IncludedFacts(**INCLUDED), None, False, Stream(repeats=0.2)) == len(records)


@pytest.mark.parametrize(
    "source",
    [INCLUDED, {"kind": "world"}, {"kind": "published", "name": "counterfact"}, URL_FACTS | {"limit": 1000}],
)
def test_known_facts_are_a_file_of_each_model(source):
    tuned = {"kind": "full_fine_tuning", "models": ["world-llama"], "facts": "web"}
    changes = of_web("fact", source | {"known": True}) | {"interventions": {"on": tuned}}
    files = Files(Plan(load_study(laid_over(STUDY, changes))))
    mine, other = (f"resources/facts/web/known-by-{model}.json" for model in ("world-gpt2", "world-llama"))
    assert files.facts_of("world-gpt2") == mine and files.facts_of_models() == [mine, other]
    assert files.data_of_intervention("world-llama", "on") == ("facts", other)
    assert files.data_of_interventions() == [other] and files.known_facts() == {"web"}
    assert files.facts_of("world-gpt2", "world") == "resources/facts/world.json"
    assert files.plan.conditions["facts"] is None  # no longer the whole of a published set
    without = Files(Plan(load_study(laid_over(STUDY, of_web("fact", source)))))
    assert without.facts_of_models() == ["resources/facts/web.json"] and without.known_facts() == set()


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({}, (200, 200)),
        ({"single_edits": 300}, (300, 300)),
        ({"stream": {"put_back": 0.3}, "single_edits": 40}, 2 * (facts_taken(Stream(put_back=0.3), 0, 0, 200),)),
        ({"block": 210}, (210, 210)),
        ({"block": 210, "more_orders": {"world-gpt2": {"ft": 3}}, "orders": 2}, (630, 420)),
    ],
)
def test_runs_need_the_facts_of_their_longest_order_or_of_all_blocks(changes, needed):
    plan = Plan(load_study(laid_over(STUDY, changes)))
    assert tuple(map(plan.edited_facts, STUDY["models"])) == needed


def test_zsre_is_counted_as_it_is_read(tmp_path):
    record = {"subject": "A", "src": "Where is A?", "answers": ["B"], "alt": "C", "rephrase": ""}
    (tmp_path / "zsre.json").write_text(json.dumps([record, record | {"alt": "B"}] * 3))
    source = {"kind": "local", "path": str(tmp_path / "zsre.json"), "format": "zsre"}
    with pytest.raises(StudyError, match="edits is 200: 'web' holds 3 facts"):
        load_study(laid_over(STUDY, of_web("fact", source)))


def test_a_model_that_writes_a_text_is_needed_where_the_text_is_read():
    writer = {"kind": "hub", "repo": "owner/writer", "revision": REVISION, "layers": 4}
    changes = {
        "model_sources": {"writer": writer},
        "text_sources": {"written": {"kind": "generated", "model": "writer", "document_tokens": 32}},
    }
    read, unread = (load_study(laid_over(STUDY, changes | more)) for more in ({"heldout_text": "written"}, {}))
    assert "writer" in needed_models(read) and "writer" not in needed_models(unread)
    assert lengths_asked(read, "writer")["text_sources.written.document_tokens"] == 32
    assert "text_sources.written.document_tokens" not in lengths_asked(unread, "writer")


def test_a_text_by_an_unknown_model_is_refused():
    wrong = {"text_sources": {"written": {"kind": "generated", "model": "nobody"}}}
    assert message(wrong).startswith("text_sources.written.model: model 'nobody' is unknown")
