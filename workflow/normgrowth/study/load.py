"""From what the user wrote to a study that can run, or one line that says why not."""

from collections.abc import Mapping

from pydantic import ValidationError

from normgrowth.errors import StudyError
from normgrowth.study.checks import faults_of
from normgrowth.study.messages import describe, together
from normgrowth.study.study import Study


def load_study(config: Mapping) -> Study:
    """Validate a configuration; relative paths in it are taken from the working directory.

    Raises:
        StudyError: naming each key at fault, its value and what is allowed.
    """
    try:
        study = Study(**config)
    except ValidationError as error:
        raise StudyError(f"error in the study: {together(describe(error, Study, config))}") from error
    faults = faults_of(study)
    if faults:
        raise StudyError(f"error in the study: {together(faults)}")
    return study
