"""Generated files are those that the models of the study generate now."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from normgrowth.study.reference import REFERENCE_FILE, SCHEMA_FILE, reference_text, schema, schema_text

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("file", "text"), [(SCHEMA_FILE, schema_text), (REFERENCE_FILE, reference_text)])
def test_generated_files_are_in_sync(file, text):
    assert (ROOT / file).read_text(encoding="utf-8") == text(), f"{file} is stale: run `make reference`"


def test_every_field_is_described():
    for name, section in {"study": schema(), **schema()["$defs"]}.items():
        for key, field in section.get("properties", {}).items():
            if key not in ("kind", "per_model"):
                assert field.get("description"), f"{name}.{key} has no description"


def test_the_schema_takes_the_default_study_and_refuses_unknown_keys():
    validator = jsonschema.Draft202012Validator(json.loads(schema_text()))
    study = yaml.safe_load((ROOT / "config.yaml").read_text())
    assert list(validator.iter_errors(study)) == []
    for wrong in (
        {"edtis": 1},
        {"edits": 0},
        {"editor_settings": {"memit": {"lambda": 1}}},
        {"editor_settings": {"romme": {}}},
    ):
        assert list(validator.iter_errors(study | wrong)), wrong
