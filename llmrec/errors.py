"""Errors a user can mend; each message says where, what was found and what was expected.

LlmrecError                exit code 2 unless said otherwise, printed without a traceback
├── ConfigError            a setting is unknown, of the wrong type or out of range
├── InputTableError        a source or table is missing, empty, or not as its contract says
├── ArtifactError          a model folder is missing, incomplete, changed or of another kind
├── TrainingError          fine-tuning came to numbers that are none
├── RegistryError          the model registry cannot be reached, or lacks what is asked for
├── OutputError            a table or file could not be written
└── GateError              exit code 3: a night is too unlike those before to be published unasked
"""


class LlmrecError(Exception):
    """Base of every error that the user of a job can mend."""

    exit_code = 2


class ConfigError(LlmrecError):
    """A setting is unknown, of the wrong type or out of range."""


class InputTableError(LlmrecError):
    """A source or table is missing, empty, or not as its contract says."""


class ArtifactError(LlmrecError):
    """A model folder is missing, incomplete, changed or of another kind."""


class TrainingError(LlmrecError):
    """Fine-tuning came to numbers that are none."""


class RegistryError(LlmrecError):
    """The model registry cannot be reached, or lacks what is asked for."""


class OutputError(LlmrecError):
    """A table or file could not be written."""


class GateError(LlmrecError):
    """A night is too unlike those before to be published unasked."""

    exit_code = 3
