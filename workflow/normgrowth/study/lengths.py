"""What a study has its models read at once, and whether their contexts hold it: known before anything is run."""

from collections.abc import Iterator

from normgrowth.editors.settings import SECOND_MOMENTS
from normgrowth.errors import ModelError
from normgrowth.lm.context_length import Asked, too_long
from normgrowth.study.chosen_editors import choose
from normgrowth.study.inputs import context_of, layers_of
from normgrowth.study.sections import CheckpointDifference, TrainedModel
from normgrowth.study.study import Study
from normgrowth.training.training_settings import CONTINUED_PRETRAINING


def lengths_asked(study: Study, model: str) -> Asked:
    """Tokens that the study has a model read at once, by key."""
    asked = {"measure.text_window": study.measure.text_window}
    if study.measure.generation_facts:
        asked["measure.generation_tokens"] = study.measure.generation_tokens
    if _needs_second_moments(study, model):
        asked["second_moments.window"] = study.second_moments.window
    for name, what in study.interventions.items():
        trained = not isinstance(what, CheckpointDifference) and (what.models is None or model in what.models)
        if trained and what.kind == CONTINUED_PRETRAINING:
            asked[f"interventions.{name}.training.window"] = what.training.window
    return asked


def length_faults(study: Study) -> Iterator[str]:
    """What is longer than the context of a model; of models whose context is not known yet, nothing."""
    for model in study.models:
        yield from too_long(lengths_asked(study, model), context_of(study, model), model)


def _needs_second_moments(study: Study, model: str) -> bool:
    if isinstance(study.model_sources[model], TrainedModel):
        return True  # it is vetted by single edits of R-ROME
    try:
        layers = layers_of(study, model)
        editors = [name for name in study.editors if name not in study.left_out.get(model, ())]
        return any(SECOND_MOMENTS in choose(study, name, model, layers).needs for name in editors)
    except (ModelError, ValueError):
        return False  # a fault of its own, and said as that
