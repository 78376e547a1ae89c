"""Studies: the default one with something changed, removed or added anywhere."""

import copy
from pathlib import Path

import yaml
from hypothesis import event, given
from hypothesis import strategies as st

from normgrowth.errors import StudyError
from normgrowth.study.costs import costs
from normgrowth.study.plan import Plan
from normgrowth.study.study_files import load_study
from tests.fuzz.oracle import change_somewhere, fuzz

ROOT = Path(__file__).parents[2]
STUDY = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))


@fuzz(500)
@given(st.data())
def test_a_study_can_be_planned_or_is_refused_in_one_line(data):
    study = copy.deepcopy(STUDY)
    for _ in range(data.draw(st.integers(1, 3))):
        change_somewhere(data.draw, study)
    try:
        plan = Plan(load_study(study))
    except StudyError as error:
        event("refused")
        assert str(error).strip() and "\n" not in str(error).strip()
        return
    assert plan.as_json and plan.checkpoints
    assert costs(plan.study) is not None
