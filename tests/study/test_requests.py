"""What jobs ask a scheduler for."""

from pathlib import Path

from normgrowth.study import requests
from normgrowth.study.plan import Plan
from normgrowth.study.study_files import read_study


def of_paper():
    return Plan(read_study(Path("studies/paper.yaml")))


def test_small_models_ask_for_the_least():
    plan = Plan(read_study(None))
    asked = {request.what.split()[0]: request for request in requests.requests(plan)}
    assert asked["edit"].minutes == asked["measure"].minutes == requests.LEAST_MINUTES
    assert {request.gpus for request in asked.values()} == {0}
    assert {"train", "statistics", "hypernetwork", "null_spaces", "intervene"} <= set(asked)
    assert all(1000 < request.megabytes < 4000 for request in asked.values())


def test_large_models_and_long_segments_ask_for_more():
    plan = of_paper()
    short = requests.minutes_of_segment(plan, "gpt2-xl", "memit")
    assert short <= requests.minutes_of_segment(plan, "llama-3-8b", "memit")
    longer = Plan(plan.study.model_copy(update={"segment": 1000}))
    ratio = requests.minutes_of_segment(longer, "llama-3-8b", "memit") / requests.minutes_of_segment(
        plan, "llama-3-8b", "memit"
    )
    assert 5 < ratio < 10
    weights = requests.megabytes(plan.study, "llama-3-8b")
    assert 60_000 < weights < 75_000  # twice 8 billion numbers of four bytes, and the libraries
    assert {request.gpus for request in requests.requests(plan) if request.what != "null_spaces"} == {1}
