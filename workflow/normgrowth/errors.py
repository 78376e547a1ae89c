"""Errors a user can act on: the command line prints them as one line, without a traceback."""

INSTALL_HARNESS = "pip install -c envs/lock.txt -e '.[ability]'"
"""Command that installs the lm-evaluation-harness, an optional package, beside the pinned ones."""


class NormgrowthError(Exception):
    """Fault whose message names the thing, its value and the remedy in one line."""


class UsageError(NormgrowthError):
    """Words of the command line that make no job: the exit code is 2, as argparse's."""


class StudyError(NormgrowthError):
    """Wrong configuration of a study, raised before any work starts."""


class FactError(NormgrowthError):
    """Wrong record of a fact: the message names the record and the field."""


class ArtefactError(NormgrowthError):
    """File of the workflow that is missing, is damaged or could not be written."""


class ModelError(NormgrowthError):
    """Model that is missing, or lacks parts that the work needs."""


class EditError(NormgrowthError):
    """Failed edit: the message names it."""


class ClusterError(NormgrowthError):
    """Cluster whose scheduler cannot be asked, or would hang or lose jobs."""


class RunError(NormgrowthError):
    """Run that cannot start: another one in the same folder is in the way, or the folder has no room for one."""


class AbilityError(NormgrowthError):
    """Evaluation of general ability without its harness, a task or the task's data."""


class QualityError(NormgrowthError):
    """Trained model below the bar that makes editing it meaningful."""
