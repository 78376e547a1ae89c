"""Errors a user can act on: the command line prints them as one line, without a traceback."""


class NormgrowthError(Exception):
    """A fault that names the thing, its value and the remedy in one line."""


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


class QualityError(NormgrowthError):
    """A trained model missed the bar that makes editing it meaningful."""
