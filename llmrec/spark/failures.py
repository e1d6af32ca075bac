"""What errors of Spark mean to who runs a job: files that are damaged or gone, and errors of Python workers."""

import re

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

from llmrec import errors
from llmrec.errors import InputTableError, LlmrecError

_IN_WORKER = re.compile(r"^llmrec\.errors\.(\w+): (.+)$", re.MULTILINE)
_UNREAD_FILE = re.compile(r"\[FAILED_READ_FILE\.(\w+)\] Encountered error while reading file (\S+?)\.?\s")
_CAUSE = re.compile(r"^Caused by: [\w.$]+: (.+)$", re.MULTILINE)
_GONE = "FILE_NOT_EXIST"


def explained(error: BaseException) -> LlmrecError | None:
    """Return what can be mended, as far as ``error`` of a running query tells of that; None for any other error."""
    if not isinstance(error, PySparkException | Py4JJavaError):
        return None
    text = str(error)
    if (found := _IN_WORKER.search(text)) and (kind := getattr(errors, found[1], None)):
        known: LlmrecError = kind(found[2])
        return known
    if found := _UNREAD_FILE.search(text):
        reason, path = found.groups()
        if reason == _GONE:
            return InputTableError(
                f"{path}: is gone, expected it as long as it is read; was its table deleted meanwhile? "
                "The same line again when it is back"
            )
        return InputTableError(f"{path}: cannot be read ({innermost(text)}); expected it as it was written: restore it")
    return None


def innermost(text: str) -> str:
    """Return the message of the innermost cause in a Java stack, in one line; of a text without one its first line."""
    causes: list[str] = _CAUSE.findall(text)
    return " ".join((causes[-1] if causes else text.strip().partition("\n")[0]).split())[:300]
