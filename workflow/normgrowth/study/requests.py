"""Requests of jobs to a scheduler: minutes and memory, with room to spare. Later attempts ask for more."""

import math
from collections.abc import Callable
from typing import NamedTuple

from normgrowth.editors.settings import GRADIENT_MOMENTS, HYPERNETWORK, NULL_SPACES, SECOND_MOMENTS
from normgrowth.errors import StudyError
from normgrowth.study import costs
from normgrowth.study.downloads import texts_to_write
from normgrowth.study.inputs import weights_megabytes
from normgrowth.study.plan import Plan
from normgrowth.study.presets import Dimensions
from normgrowth.study.sections import GgufModel
from normgrowth.study.study import Study

MARGIN = 2
"""Safety factor on the time that a job should take."""

LEAST_MINUTES = 60
"""Least minutes that a job asks for: asking for less gains nothing, and a killed job is lost."""

MINUTES = {
    "world": 10,
    "train": 60,
    "write_text": 120,
    "import_gguf": 60,
    "contexts": 30,
    "known_facts": 120,
    "statistics": 240,
    "gradient_moments": 480,
    "null_spaces": 120,
    "hypernetwork": 720,
    "check_editable": 30,
    "single_edits": 120,
    "intervene": 480,
    "evaluate": 240,
}
"""Minutes asked for by jobs whose length the cost model does not know, by rule."""

ONE_PROCESS = 1000
"""Megabytes of Python and of the workflow's own process inside a job."""


class Request(NamedTuple):
    """Largest request of jobs of a kind at their first attempt."""

    what: str  # kind of job
    minutes: int
    megabytes: int
    gpus: int


def megabytes(study: Study, model: str) -> int:
    """Megabytes of main memory that a job with a model asks for.

    It holds the libraries, weights, a copy of the edited ones and activations, or, where these are on a GPU, the
    weights on their way there.
    """
    weights = weights_megabytes(study, model)
    return 4000 + 2 * weights if study.device == "cuda" else ONE_PROCESS + 1000 + 6 * weights


def megabytes_to_import(study: Study, model: str) -> int:
    """Megabytes of main memory that turning a GGUF file into float32 asks for: it holds three times the weights."""
    return ONE_PROCESS + 1000 + 4 * weights_megabytes(study, model)


def minutes_of_segment(plan: Plan, model: str, editor: str) -> int:
    """Minutes that the job of one segment asks for: `MARGIN` times its expected time, at least `LEAST_MINUTES`.

    A model whose shape is not known yet gets `LEAST_MINUTES`.
    """
    settings = plan.editor(model, editor).settings.working
    return _minutes(
        plan,
        model,
        lambda shape: plan.study.segment * (costs.seconds_per_edit(shape, settings) + costs.seconds_per_score(shape)),
    )


def minutes_of_checkpoint(plan: Plan, model: str) -> int:
    """Minutes that a job which measures a checkpoint asks for; see `minutes_of_segment`."""
    measure = plan.study.measure
    facts = max(measure.retention_facts, measure.baseline_facts) + measure.untouched_facts
    texts = facts + measure.fact_probes + measure.text_probes
    return _minutes(plan, model, lambda shape: texts * costs.seconds_per_score(shape))


def requests(plan: Plan) -> list[Request]:
    """Requests of the study's jobs with a model, a row per kind."""
    study = plan.study
    most = max(megabytes(study, model) for model in study.models)
    gpus = study.gpus if study.device == "cuda" else 0
    needs = {need for pair in plan.pairs for need in plan.editor(*pair).needs}
    model, editor = max(plan.pairs, key=lambda pair: minutes_of_segment(plan, *pair))
    found = [
        Request(f"edit ({editor} on {model})", minutes_of_segment(plan, model, editor), most, gpus),
        Request("measure", max(minutes_of_checkpoint(plan, model) for model in study.models), most, gpus),
        Request("contexts", MINUTES["contexts"], most, gpus),
    ]
    asked = {
        "known_facts": study.fact_sources[study.facts].known,
        "statistics": SECOND_MOMENTS in needs,
        "gradient_moments": GRADIENT_MOMENTS in needs,
        "hypernetwork": HYPERNETWORK in needs,
        "write_text": bool(texts_to_write(study)),
        "single_edits": bool(study.single_edits),
        "intervene": bool(plan.interventions),
        "evaluate": bool(study.ability.tasks),
    }
    found += [Request(rule, MINUTES[rule], most, gpus) for rule, there in asked.items() if there]
    if imported := [model for model in study.models if isinstance(study.model_sources[model], GgufModel)]:
        largest = max(megabytes_to_import(study, model) for model in imported)
        found.append(Request("import_gguf", MINUTES["import_gguf"], largest, 0))
    on_cpu = {"train": bool(plan.trained().keys() & set(study.models)), "null_spaces": NULL_SPACES in needs}
    return found + [Request(rule, MINUTES[rule], most, 0) for rule, there in on_cpu.items() if there]


def _minutes(plan: Plan, model: str, seconds: Callable[[Dimensions], float]) -> int:
    """Minutes that a job asks for, from the seconds that it should take on a model of a shape."""
    try:
        work = seconds(costs.dimensions(plan.study, model))
    except StudyError:
        return LEAST_MINUTES
    return max(LEAST_MINUTES, math.ceil(MARGIN * (costs.figures().start_seconds + work) / 60))
