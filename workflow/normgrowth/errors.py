"""Errors a user can act on: the command line prints them as one line, without a traceback."""

INSTALL_HARNESS = "pip install -c envs/lock.txt -e '.[ability]'"
"""Gets the lm-evaluation-harness, an optional package, beside the pinned ones."""


class NormgrowthError(Exception):
    """A fault that names the thing, its value and the remedy in one line."""


class UsageError(NormgrowthError):
    """Words of the command line that make no job: the exit code is 2, as argparse's."""


class StudyError(NormgrowthError):
    """The study's configuration is wrong: it is raised before any work starts."""


class FactError(NormgrowthError):
    """A fact record is wrong: the message names the record and the field."""


class ArtefactError(NormgrowthError):
    """A file of the workflow is missing, damaged or could not be written."""


class ModelError(NormgrowthError):
    """A model is missing, or has not the parts that the work needs."""


class EditError(NormgrowthError):
    """An edit failed: the message names the edit."""


class ClusterError(NormgrowthError):
    """The cluster's scheduler cannot be asked, or would hang or lose jobs."""


class RunError(NormgrowthError):
    """Another run in the same folder is in the way, or the folder has no room for one."""


class AbilityError(NormgrowthError):
    """General ability cannot be evaluated: the harness, a task or its data is not there."""


class QualityError(NormgrowthError):
    """A trained model missed the bar that makes editing it meaningful."""
