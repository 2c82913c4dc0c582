"""The errors a user can cause. Each message names the input and says what would have worked."""


class GradattnError(Exception):
    """Base of every error that is the input's fault; the command line prints it as one sentence and exits with 2."""


class DatasetError(GradattnError):
    """The dataset as a whole cannot be audited (missing, empty, one class, unusable manifest)."""


class UnreadableImageError(GradattnError):
    """One image cannot be decoded; an audit records it in ``failures`` and goes on."""


class EmptyFileError(UnreadableImageError):
    """A file has no bytes."""


class ModelError(GradattnError):
    """The model or its checkpoint cannot be used (unknown name, other shapes, no global attention)."""


class ClassAlignmentError(GradattnError):
    """The model's classes cannot be matched with the dataset's classes."""


class InterpretError(GradattnError, ValueError):
    """An argument of the interpretation is unusable; the message names the argument."""


class EvaluateError(GradattnError, ValueError):
    """An argument of the evaluation is unusable; the message names the argument."""


class RankingError(GradattnError, ValueError):
    """The ranking's input is unusable; the message names the argument."""


class StoreError(GradattnError):
    """The output folder or its database cannot be used (other schema version, no permission, locked for too long)."""


class NewerSchemaError(StoreError):
    """The database was brought up to date by a newer version of gradattn, which this one cannot read."""


class StoreBusyError(StoreError):
    """Somebody else has held the database for too long; it is worth another try."""


class ApplyError(GradattnError):
    """The decisions cannot be applied there (folder in use, no local dataset, a label that names no folder)."""


class OutputBusyError(StoreError):
    """Another audit is at work in the output folder."""
