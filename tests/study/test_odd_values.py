"""Every number, list and text of a study's schema at its ends: zero, nothing, and what is no number at all."""

import json
import math
from collections.abc import Iterator
from copy import deepcopy
from itertools import pairwise

import pytest

from normgrowth.cli import main
from normgrowth.editors.registry import declaration
from normgrowth.errors import StudyError
from normgrowth.study.plan import Plan
from normgrowth.study.study import Study
from normgrowth.study.study_files import load_study
from normgrowth.training.training_settings import KINDS
from tests.study.test_study import STUDY, laid_over, message
from tests.support.commands import MEASURE, Workbench, as_json
from tests.support.every_editor import WRITERS, settings_of

HASH = "a" * 64
EVERY_SECTION = {
    "editors": ["ft", "r_rome"],
    "more_orders": {"world-gpt2": {"ft": 1}},
    "interventions": {"on": {"kind": "continued_pretraining", "text": "world"}},
    "model_sources": {
        "local": {"kind": "local", "path": "x"},
        "hub": {"kind": "hub", "repo": "owner/name", "revision": "0" * 40},
    },
    "fact_sources": {
        "local": {"kind": "local", "path": "x"},
        "url": {"kind": "url", "url": "https://example.org/x", "sha256": HASH},
        "published": {"kind": "published", "name": "counterfact"},
    },
    "text_sources": {
        "local-text": {"kind": "local", "paths": ["x"], "column": "text"},
        "url-text": {"kind": "url", "urls": ["https://example.org/x"], "sha256": [HASH], "column": "text"},
    },
}
"""An entry of each kind, so that each field has its place."""

FULL = laid_over(STUDY, EVERY_SECTION)
ENTRY = {"TrainedModel": "world-gpt2", "LocalModel": "local", "HubModel": "hub", "World": "world"}
ENTRY |= {"LocalFacts": "local", "UrlFacts": "url", "PublishedFacts": "published", "LocalText": "local-text"}
ENTRY |= {"UrlText": "url-text", "TrainedIntervention": "on"}
SCHEMA = Study.model_json_schema()


def fields(schema: dict, path: tuple, top: dict) -> Iterator[tuple[tuple, dict]]:
    """Path and schema of every number, list and dictionary that a section holds."""
    name = schema.get("$ref", "").split("/")[-1]
    schema = top["$defs"][name] | schema if name else schema
    for option in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from fields(option, path, top)
    for key, inner in schema.get("properties", {}).items():
        yield from fields(inner, (*path, key), top)
    for inner in schema.get("patternProperties", {}).values():
        for option in inner.get("oneOf", [inner]):
            key = ENTRY.get(option.get("$ref", "").split("/")[-1], {"more_orders": "world-gpt2"}.get(path[-1]))
            if key or path[:1] == ("more_orders",):
                yield from fields(option, (*path, key or "ft"), top)
    if schema.get("type") in ("integer", "number", "array", "object") and "properties" not in schema:
        yield path, schema
    if schema.get("type") == "array":
        yield from fields(schema["items"], (*path, 0), top)


def unique(found: Iterator[tuple[tuple, dict]]) -> list:
    return [
        pytest.param(path, schema, id=".".join(map(str, path)))
        for path, schema in {p: (p, s) for p, s in found}.values()
    ]


FIELDS = unique(fields(SCHEMA, (), SCHEMA))
NUMBERS = [field for field in FIELDS if field.values[1]["type"] in ("integer", "number")]
LISTS = [field for field in FIELDS if field.values[1]["type"] in ("array", "object")]
OF_EDITORS = [
    pytest.param((kind, *path), schema, id=".".join(map(str, (kind, *path))))
    for kind in WRITERS
    for path, schema in fields(
        declaration(kind).Settings.model_json_schema(), (), declaration(kind).Settings.model_json_schema()
    )
    if schema["type"] in ("integer", "number")
]


def with_value(path: tuple, value: object) -> dict:
    """The full study with a value at a path, lists there being of one entry."""
    study = deepcopy(FULL)
    inner = study
    for key, following in pairwise(path):
        if following == 0:
            inner[key] = [value]
            return study
        inner = inner.setdefault(key, {})
    inner[path[-1]] = value
    return study


def refusal(study: dict) -> str:
    with pytest.raises(StudyError) as raised:
        load_study(study)
    text = str(raised.value)
    assert "\n" not in text and "pydantic" not in text and "function-" not in text
    return text


def test_every_kind_of_field_is_found():
    assert len(NUMBERS) > 80 and len(LISTS) >= 20 and len(OF_EDITORS) > 80
    load_study(FULL)
    assert any(field.id == "measure.generation_facts" for field in NUMBERS)
    assert any(field.id == "model_sources.world-gpt2.training.warmup_steps" for field in NUMBERS)


ODD = [True, False, math.nan, math.inf, -math.inf, 10**30, -(10**30), "many", [], {}, [[]]]


@pytest.mark.parametrize(("path", "schema"), NUMBERS)
def test_a_number_is_a_number(path, schema):
    in_list = path[-1] == 0
    said_at = ".".join(map(str, path))
    for value in [*ODD, *([2.5] if schema["type"] == "integer" else [])]:
        said = refusal(with_value(path, value))
        of_list = in_list and f"{said_at[:-2]} is {[value]!r}" in said
        of_list |= path[0] == "more_orders" and said_at.split(".")[0] in said and repr(value) in said
        assert of_list or f"{said_at} is {value!r}" in said, value


@pytest.mark.parametrize(("path", "schema"), OF_EDITORS)
def test_a_number_of_an_editor_is_a_number(path, schema):
    kind, *rest = path
    study = FULL | {
        "editors": [kind],
        "fact_sources": laid_over(FULL, {"fact_sources": {"world": {"reserved": 50}}})["fact_sources"],
    }
    for value in ODD:
        given = {rest[0]: [value] if len(rest) > 1 else value}
        said = refusal(study | {"editor_settings": {kind: given}})
        assert f"editor_settings.{kind}.{rest[0]}" in said and repr(value) in said, value


def ends(schema: dict) -> list:
    """The smallest numbers that a schema allows, and those just beyond."""
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    return [] if least is None else [least, least - 1]


@pytest.mark.parametrize(("path", "schema"), NUMBERS)
def test_the_least_number_makes_a_plan_or_is_refused_in_one_line(path, schema):
    for value in ends(schema):
        study = with_value(path, value)
        if path == ("edits",):
            study |= {"segment": 1}
        try:
            plan = Plan(load_study(study))
        except StudyError as error:
            assert "\n" not in str(error)
            continue
        assert value >= schema.get("minimum", -math.inf)
        assert (
            json.loads(plan.as_json) and list(plan.chains) and plan.checkpoints and list(plan.kept_vectors) is not None
        )


@pytest.mark.parametrize(("path", "schema"), LISTS)
def test_nothing_in_a_list_makes_a_plan_or_is_refused_in_one_line(path, schema):
    study = with_value(path, [] if schema["type"] == "array" else {})
    try:
        plan = Plan(load_study(study))
    except StudyError as error:
        assert "\n" not in str(error)
    else:
        assert json.loads(plan.as_json) and list(plan.chains) and list(plan.kept_vectors) is not None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"single_edits": 721}, "single_edits is 721: 'world' holds 720 facts, and at most 720 can be edited"),
        ({"orders": 1001}, "orders is 1001: should be less than or equal to 1000"),
        (
            {"vectors": {"editors": ["ft"], "layers": [6]}},
            "vectors.layers holds 6, and model 'world-gpt2' has layers 0 to 5",
        ),
        ({"vectors": {"editors": ["ft"], "layers": [-7]}}, "vectors.layers holds -7, and model 'world-gpt2' has"),
        ({"vectors": {"editors": ["ft"], "orders": [1]}}, "vectors.orders holds 1: runs have orders 0 to 0"),
        ({"vectors": {"sites": ["residual", "residual"]}}, "vectors.sites: 'residual' stands there twice"),
        ({"vectors": {"steps": [0, 0]}}, "vectors.steps: 0 stands there twice"),
        ({"left_out": {"world-gpt2": ["ft", "ft"]}}, "left_out.world-gpt2: 'ft' stands there twice"),
        ({"interventions": {"i": None}}, "interventions.i is None: should be a dictionary"),
        (
            {"interventions": {"i": {"kind": "lora_fine_tuning", "facts": "world", "trainin": {}}}},
            "interventions.i: key 'trainin' is unknown; did you mean 'training'?",
        ),
        (
            {"interventions": {"i": {"kind": "lora"}}},
            "interventions.i.kind 'lora' is unknown (known: checkpoint_difference, continued_pretraining, ",
        ),
        (
            {"fact_sources": {"f": {"kind": "url", "sha256": HASH}}},
            "fact_sources.f.url is missing (Address of the file",
        ),
    ],
)
def test_what_is_odd_is_said(changes, said):
    assert message(changes).startswith(said)


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Workbench:
    return Workbench(tmp_path_factory.mktemp("bench"))


def zeros(settings: type) -> dict[str, int]:
    """Every number of some settings that may be 0, at 0."""
    top = settings.model_json_schema()
    return {path[0]: 0 for path, schema in fields(top, (), top) if len(path) == 1 and schema.get("minimum") == 0}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_editor_runs_with_all_zeros_that_it_allows(bench, tmp_path, kind):
    settings = settings_of(kind)
    trained = {"training_steps": 2, "validation_share": 0.5} if hasattr(settings, "training_steps") else {}
    given = as_json(settings, **zeros(type(settings)), **trained)
    options: dict = {"editor": kind, "settings": given, "statistics": bench.statistics()}
    if "null_spaces" in settings.needs:
        options["null_spaces"] = bench.null_spaces(settings.null_space_threshold)
    if "gradient_moments" in settings.needs:
        options["gradient_moments"] = bench.gradient_moments()
    if trained:
        assert bench.run("hypernetwork", editor=kind, settings=given, reserved=2, out=tmp_path) == 0
        options |= {"hypernetwork": tmp_path / "hypernetwork.safetensors", "reserved": 2}
    assert bench.run("edit", **options, chain=tmp_path / "chain", last=4, of=4) == 0
    assert bench.run("single-edits", **options, out=tmp_path / "single.parquet") == 0


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("step", [0, 2])
def test_what_is_measured_may_be_the_least(bench, tmp_path, value, step):
    """All counts of section `measure` at once, none or one of each."""
    least = {
        path[1]: max(value, schema["minimum"])
        for path, schema in (f.values for f in NUMBERS)
        if path[0] == "measure" and len(path) == 2
    }
    settings = MEASURE.model_validate(least).model_dump_json()
    options = {}
    if step:
        assert bench.run("edit", chain=tmp_path / "chain") == 0
        options = {"chain": tmp_path / "chain", "segments": 1}
    assert bench.run("measure", step=step, settings=settings, out=tmp_path / "measured", **options) == 0
    assert bench.run("extract", step=step, settings=settings, out=tmp_path / "vectors", **options) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_interventions_run_with_the_least_of_everything(bench, tmp_path, kind):
    least = {"steps": 1, "batch": 1, "window": 2, "warmup_steps": 0, "weight_decay": 0, "rank": 1, "norms_every": 1}
    data = {} if kind == "continued_pretraining" else {"text": None, "facts": bench.facts}
    assert bench.run("intervene", kind=kind, settings=json.dumps(least), out=tmp_path / "n.parquet", **data) == 0


def test_one_of_each_is_enough_for_contexts_and_statistics(bench, tmp_path):
    assert bench.run("contexts", per_length=1, out=tmp_path / "contexts.json") == 0
    assert bench.run("statistics", tokens=1, window=2, out=tmp_path / "moments.safetensors") == 0


@pytest.mark.parametrize("words", [("status", "--watch", "0"), ("status", "--watch", "nan"), ("plan", "--fit", "0GB")])
def test_no_time_and_no_memory_are_refused(words, capsys):
    try:
        code = main([*words])
    except SystemExit as end:
        code = end.code
    assert code in (1, 2) and "Traceback" not in capsys.readouterr().err
