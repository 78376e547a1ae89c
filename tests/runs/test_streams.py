"""Runs along a stream: facts edited again and put back are judged by their latest edit, wherever segments end."""

import json
import math
from collections import Counter

import pandas as pd
import pytest
import torch

from benchmarks import plain
from normgrowth import cli
from normgrowth.analysis.edit_scores import PARTS_OF_S, final_scores, paired
from normgrowth.facts.orders import edit_order
from normgrowth.facts.records import read_facts
from normgrowth.facts.streams import FIRST, PUT_BACK, REPEAT, Stream
from normgrowth.io.tables import read_provenance, read_table
from normgrowth.io.tensors import read_metadata
from normgrowth.measure.measure_settings import Measure
from normgrowth.report.streams import stream_summary
from normgrowth.runs import edit_loop
from normgrowth.runs.state import STATE, restore
from normgrowth.sources.loading import load_model
from tests.support import small_models
from tests.support.commands import MEASURE, Workbench, as_json
from tests.support.every_editor import settings_of

EDITS, SEGMENT = 12, 4
STREAM = {"repeats": 0.3, "put_back": 0.25, "gap": 2}
SEED = 4
"""A seed under which the twelve edits are of every kind, and one fact is edited three times."""

MEASURED = MEASURE.model_copy(update={"retention_facts": 20, "baseline_facts": 4, "untouched_facts": 7})
KINDS = ["memit", "ft", pytest.param("alphaedit", marks=pytest.mark.slow)]


def records() -> list[dict]:
    """Two facts about each subject; after the subjects of some stand the same words, so that their keys are equal."""
    found = small_models.records()
    for i, record in enumerate(small_models.records()):
        rewrite = record["requested_rewrite"] | {"prompt": "{} works in", "relation_id": "P937"}
        rewrite["target_true"] = {"str": small_models.PLACES[(i + 2) % 4]}
        rewrite["target_new"] = {"str": small_models.PLACES[(i + 3) % 4]}
        found.append(record | {"case_id": 30 + i, "requested_rewrite": rewrite})
    return found


class Runs:
    """A small model that editors edit along the stream, by the real commands."""

    def __init__(self, folder) -> None:
        self.bench = Workbench(folder)
        self.bench.records = records()
        self.common = {"seed": SEED, "stream": json.dumps(STREAM)}
        self.bench.run("measure", **self.common, out=folder / "out")  # writes the facts
        small_models.write_contexts(self.bench.contexts, self.bench.model, SEED)
        self.moments = folder / "moments.safetensors"
        layers = list(range(small_models.N_LAYERS))
        assert self.bench.run("statistics", seed=SEED, layers=layers, out=self.moments) == 0

    def edit(self, chain, kind: str, segment: int, first: int, last: int, **others: object) -> int:
        settings = settings_of(kind)
        needs = {"statistics": self.moments} if settings.needs else {}
        if "null_spaces" in settings.needs:
            needs["null_spaces"] = self._null_spaces(settings.null_space_threshold)
        given = self.common | needs | {"editor": kind, "settings": as_json(settings), "editor_name": kind}
        place = {"segment": segment, "first": first, "last": last, "of": EDITS, "chain": chain}
        return self.bench.run("edit", **given | place | others)

    def _null_spaces(self, threshold: float):
        path = self.bench.folder / "spaces.safetensors"
        if not path.exists():
            assert self.bench.run("null-spaces", statistics=self.moments, threshold=threshold, out=path) == 0
        return path

    def in_segments(self, chain, kind: str, count: int) -> None:
        size = EDITS // count
        for segment in range(1, count + 1):
            assert self.edit(chain, kind, segment, (segment - 1) * size + 1, segment * size) == 0

    def measure(self, out, kind: str, step: int, measured: Measure = MEASURED, **chain: object) -> pd.DataFrame:
        given = self.common | {"editor_name": kind, "step": step, "settings": measured.model_dump_json()}
        assert self.bench.run("measure", **given, **chain, out=out) == 0
        return read_table(out / "scores.parquet", "scores")


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def chain(runs):
    """A run of memit in three segments."""
    folder = runs.bench.folder / "results/runs/m/memit/order-0"
    runs.in_segments(folder, "memit", 3)
    return folder


def noted(chain, segments: int) -> pd.DataFrame:
    parts = [read_table(chain / f"segment-{k}/stream.parquet", "stream") for k in range(1, segments + 1)]
    whole = pd.concat(parts, ignore_index=True)
    return whole.assign(former=whole["former"].astype(object).where(whole["former"].notna(), None))


def judged(lm, prompts, wanted: str, others: list[str]) -> tuple[float, float, float]:
    """Share of prompts on which an object is preferred to all others, mean lead in probability, and accuracy."""
    found = []
    for prompt in prompts:
        loss, right = plain.loss_of(lm, prompt, wanted)
        rivals = [plain.loss_of(lm, prompt, other)[0] for other in others]
        found.append((all(loss < rival for rival in rivals), math.exp(-loss) - math.exp(-min(rivals)), right))
    return tuple(sum(values) / len(values) for values in zip(*found, strict=True))


def directly(lm, record: dict, new: str, true: str, former: str | None) -> dict[str, float]:
    """Scores of one edit, by one prompt at a time."""
    rewrite = record["requested_rewrite"]
    had = {new, true} | ({former} if former else set())
    parts = {
        "e": ([rewrite["prompt"].format(rewrite["subject"])], new),
        "p": (record["paraphrase_prompts"], new),
        "n": (record["neighborhood_prompts"], true),
    }
    return {
        f"{part}{suffix}": value
        for part, (prompts, wanted) in parts.items()
        for suffix, value in zip("sma", judged(lm, prompts, wanted, sorted(had - {wanted})), strict=True)
    }


def test_the_stream_is_of_every_kind(runs, chain):
    stream = noted(chain, 3)
    assert set(stream["kind"]) == {FIRST, REPEAT, PUT_BACK} and stream["case_id"].value_counts().max() == 3
    edits = edit_order(read_facts(runs.bench.facts), SEED, 0, stream=Stream(**STREAM))[:EDITS]
    assert stream["case_id"].tolist() == [edit.case_id for edit in edits]
    assert stream["target_new"].tolist() == [edit.target_new for edit in edits]
    calls = [set(stream["case_id"][at : at + 2]) for at in range(0, EDITS, 2)]
    assert all(len(call) == 2 for call in calls)  # a batch never holds a fact twice


@pytest.mark.parametrize("kind", KINDS)
def test_one_segment_and_three_give_the_same_run(runs, tmp_path, kind):
    runs.in_segments(tmp_path / "one", kind, 1)
    runs.in_segments(tmp_path / "three", kind, 3)
    for name in ("norms", "edits", "scores", "stream"):
        one = read_table(tmp_path / f"one/segment-1/{name}.parquet", name)
        three = pd.concat(read_table(tmp_path / f"three/segment-{k}/{name}.parquet", name) for k in (1, 2, 3))
        pd.testing.assert_frame_equal(one, three.reset_index(drop=True), check_exact=True)
    one, three = (
        runs.measure(tmp_path / f"of-{name}", kind, EDITS, chain=tmp_path / name, segments=count)
        for name, count in (("one", 1), ("three", 3))
    )
    pd.testing.assert_frame_equal(one, three, check_exact=True)


def test_a_segment_that_was_killed_and_started_again_has_the_same_bytes(runs, chain, tmp_path, monkeypatch):
    assert runs.edit(tmp_path, "memit", 1, 1, SEGMENT) == 0
    score, calls = edit_loop.score_facts, []

    def killed(*given):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return score(*given)

    monkeypatch.setattr(edit_loop, "score_facts", killed)
    assert runs.edit(tmp_path, "memit", 2, SEGMENT + 1, 2 * SEGMENT) == 130
    assert not (tmp_path / "segment-2").exists()
    monkeypatch.setattr(edit_loop, "score_facts", score)
    assert runs.edit(tmp_path, "memit", 2, SEGMENT + 1, 2 * SEGMENT) == 0
    for name in ("norms.parquet", "edits.parquet", "scores.parquet", "stream.parquet", "state.safetensors"):
        assert (tmp_path / "segment-2" / name).read_bytes() == (chain / "segment-2" / name).read_bytes(), name


@pytest.mark.parametrize("segments", [1, 2, 3])
def test_facts_are_judged_once_by_their_latest_edit(runs, chain, tmp_path, segments):
    step = SEGMENT * segments
    found = runs.measure(tmp_path / "measured", "memit", step, chain=chain, segments=segments)
    kept = found[found["moment"] == "retention"].set_index("case_id")
    latest = {
        edit["case_id"]: edit for edit in noted(chain, segments).to_dict("records")
    }  # a later edit takes the place
    assert sorted(kept.index) == sorted(latest) and kept["edited_at"].to_dict() == {
        case: edit["step"] for case, edit in latest.items()
    }
    lm = load_model(runs.bench.model)
    restore(lm, chain, segments, {})
    of_case = {record["case_id"]: record for record in runs.bench.records}
    for case, edit in latest.items():
        expected = directly(lm, of_case[case], edit["target_new"], edit["target_true"], edit["former"])
        assert kept.loc[case, list(expected)].to_dict() == pytest.approx(expected, abs=1e-5), edit
    if segments == 3:
        assert {edit["kind"] for edit in latest.values()} == {FIRST, REPEAT, PUT_BACK}
    corners = read_table(tmp_path / "measured/norm_direction.parquet", "norm_direction")
    for part in PARTS_OF_S:
        value = corners.query("arm == 'edited' and metric == @part")["value"].item()
        assert value == pytest.approx(kept[part].mean(), abs=1e-6)


def test_scores_just_after_an_edit_are_of_that_edit(runs, tmp_path):
    runs.in_segments(tmp_path, "r_rome", 3)
    lm = load_model(runs.bench.model)
    restore(lm, tmp_path, 3, {})
    last = noted(tmp_path, 3).iloc[-1]
    scores = read_table(tmp_path / "segment-3/scores.parquet", "scores")
    assert list(scores["edited_at"]) == list(scores["step"]) == [9, 10, 11, 12]
    record = next(record for record in runs.bench.records if record["case_id"] == last["case_id"])
    expected = directly(lm, record, last["target_new"], last["target_true"], last["former"])
    assert scores.iloc[-1][list(expected)].to_dict() == pytest.approx(expected, abs=1e-5)
    assert read_table(tmp_path / "segment-3/edits.parquet", "edits")["immediate_efficacy"].tolist() == list(
        scores["es"]
    )


def test_the_unedited_model_is_scored_on_first_edits_and_untouched_facts_stay_so(runs, chain, tmp_path):
    plain_order = edit_order(read_facts(runs.bench.facts), SEED, 0)
    before = runs.measure(tmp_path / "before", "unedited", 0)
    assert before.loc[before["moment"] == "unedited", "case_id"].tolist() == [f.case_id for f in plain_order[:4]]
    lm = load_model(runs.bench.model)
    first = before[before["moment"] == "unedited"].iloc[0]
    record = next(record for record in runs.bench.records if record["case_id"] == first["case_id"])
    rewrite = record["requested_rewrite"]
    expected = directly(lm, record, rewrite["target_new"]["str"], rewrite["target_true"]["str"], None)
    assert first[list(expected)].to_dict() == pytest.approx(expected, abs=1e-5)
    for step in (0, 4, 8, 12):
        given = {"chain": chain, "segments": step // SEGMENT} if step else {}
        found = runs.measure(tmp_path / f"at-{step}", "memit" if step else "unedited", step, **given)
        untouched = set(found.loc[found["moment"] == "untouched", "case_id"])
        touched = set(noted(chain, step // SEGMENT)["case_id"]) if step else set()
        last = {fact.case_id for fact in plain_order[-7:]}
        assert untouched == last - touched


def test_tables_of_a_stream_join_by_edit(runs, chain):
    results = runs.bench.folder / "results"
    unedited = results / "measurements/m/unedited/order-0/after-0"
    runs.measure(unedited, "unedited", 0)
    for step in (4, 8, 12):
        runs.measure(
            results / f"measurements/m/memit/order-0/after-{step}", "memit", step, chain=chain, segments=step // SEGMENT
        )
    tables = {}
    for name in ("scores", "edits", "stream"):
        out = results / f"tables/{name}.parquet"
        words = f"--study s --chains m/memit/0 --segments 3 --checkpoints 0 4 8 12 --table {name}".split()
        assert cli.main(["collect", *words, "--results", str(results), "--out", str(out)]) == 0
        tables[name] = read_table(out, name)
    stream, scores = tables["stream"], tables["scores"]
    assert tables["edits"]["case_id"].tolist() == stream["case_id"].tolist() and tables["edits"]["edit_seconds"].all()
    assert read_provenance(results / "tables/stream.parquet")["runs"]["m/memit"]["stream"] == STREAM
    final, immediate = final_scores(scores), scores[scores["moment"] == "immediate"]
    assert final["case_id"].is_unique and len(final) == stream["case_id"].nunique() < EDITS == len(immediate)
    before, after = paired(immediate, final)
    assert len(before) == len(after) == len(final)
    for (_, case, at), row in before.iterrows():
        of_edit = immediate[(immediate["case_id"] == case) & (immediate["edited_at"] == at)]
        assert row.tolist() == of_edit[PARTS_OF_S].iloc[0].tolist()
        assert at == stream.loc[stream["case_id"] == case, "step"].max()

    table = stream_summary(scores, stream)
    shown = {(row[2].text, row[3].text): row for row in table.rows}
    counts = Counter(stream["kind"])
    assert [
        shown[said, "just after it"][4].value for said in ("first of its fact", "to another new object", "put back")
    ] == [counts[kind] for kind in (FIRST, REPEAT, PUT_BACK)]
    latest = stream.drop_duplicates("case_id", keep="last")
    put_back = latest.loc[latest["kind"] == PUT_BACK, "case_id"]
    es = final.set_index("case_id").loc[put_back, "es"].mean()
    assert shown["put back", "at the end"][4].value == len(put_back)
    assert shown["put back", "at the end"][5].value == pytest.approx(es)


def test_single_edits_are_of_each_fact_once(runs, tmp_path):
    given = {"editor": "ft", "settings": as_json(settings_of("ft")), "edits": 12, "out": tmp_path / "single.parquet"}
    assert runs.bench.run("single-edits", **runs.common, **given) == 0
    cases = read_table(tmp_path / "single.parquet", "single_edits")["case_id"].tolist()
    assert cases == [fact.case_id for fact in edit_order(read_facts(runs.bench.facts), SEED, 0)]


def test_a_run_is_continued_with_its_own_stream_alone(runs, chain, tmp_path, capsys):
    capsys.readouterr()
    assert runs.edit(chain, "memit", 2, 5, 8, stream=None) == 1
    assert "segment-1/state.safetensors holds stream {" in (said := capsys.readouterr().err)
    assert "where stream None belongs; delete the folder" in said and said.count("\n") == 1
    assert runs.edit(tmp_path, "memit", 1, 1, 4, stream=None) == 0
    assert "stream" not in read_metadata(tmp_path / "segment-1/state.safetensors", STATE)
    assert not (tmp_path / "segment-1/stream.parquet").exists()
    assert runs.edit(tmp_path, "memit", 2, 5, 8) == 1
    assert "holds stream None, where stream {" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"stream": '{"repeats": 0.3, "gap": 1}'},
            "normgrowth edit: --stream has a gap of 1, less than the batch of memit (2): a batch could hold two edits",
        ),
        (
            {"stream": '{"repeats": 0.6, "put_back": 0.6}'},
            "normgrowth edit: --stream: repeats is 0.6 and put_back 0.6: together they are at most 0.9",
        ),
        (
            {"stream": '{"repeat": 0.1}'},
            "normgrowth edit: --stream: repeat is 0.1: Extra inputs are not permitted; settings",
        ),
        ({"of": 44}, "normgrowth edit: the edit order holds 22 edits of 12 facts, fewer than the 44 edits asked for"),
    ],
)
def test_streams_that_cannot_be_edited(runs, tmp_path, capsys, changed, said):
    capsys.readouterr()
    assert runs.edit(tmp_path, "memit", 1, 1, 4, **changed) in (1, 2)
    error = capsys.readouterr().err
    assert error.startswith(said) and error.count("\n") == 1
    assert not (tmp_path / "segment-1").exists()


def test_two_facts_of_one_subject_in_one_batch_are_both_written(runs, tmp_path):
    """Without a stream: their keys are equal where the same words stand before the subject, and MEMIT averages."""
    facts = [fact for fact in edit_order(read_facts(runs.bench.facts), SEED, 0) if fact.subject == "Doro Kist"]
    assert len(facts) == 2
    records_of = [record for record in records() if record["case_id"] in {fact.case_id for fact in facts}]
    bench = Workbench(tmp_path)
    bench.records = records_of
    settings = settings_of("memit")
    given = {"editor": "memit", "settings": as_json(settings), "statistics": bench.statistics()}
    assert bench.run("edit", **given, chain=tmp_path / "chain", of=2) == 0
    scores = read_table(tmp_path / "chain/segment-1/scores.parquet", "scores")
    assert sorted(scores["case_id"]) == sorted(fact.case_id for fact in facts)
    lm = load_model(bench.model)
    before = lm.anatomy.down_projections[1].matrix.clone()
    restore(lm, tmp_path / "chain", 1, {})
    assert not torch.equal(before, lm.anatomy.down_projections[1].matrix)
    # A stream drops neither, as their relations differ.
    assert len({f.case_id for f in edit_order(facts, SEED, 0, stream=Stream(put_back=0.3, gap=1))}) == 2
