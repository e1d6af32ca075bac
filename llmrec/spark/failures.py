"""What errors mean to who runs a job: files that are damaged or gone, full disks, and errors of Python workers."""

import re
from errno import EDQUOT, ENOSPC, EROFS

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

from llmrec import errors
from llmrec.errors import InputTableError, LlmrecError, OutputError

_IN_WORKER = re.compile(r"^llmrec\.errors\.(\w+): (.+)$", re.MULTILINE)
_UNREAD_FILE = re.compile(r"\[FAILED_READ_FILE\.(\w+)\] Encountered error while reading file (\S+?)\.?\s")
_CAUSE = re.compile(r"^(?:Caused by)?: [\w.$]+: (.+)$", re.MULTILINE)
"""py4j's own first line is followed by one that begins with a colon."""
_GONE = "FILE_NOT_EXIST"
_NO_ROOM = {ENOSPC, EDQUOT, EROFS}
_CUT_SHORT = re.compile(r"^\d+ requested and \d+ written$")
"""What numpy says then, without the number of the error."""


def explained(error: BaseException) -> LlmrecError | None:
    """Return what can be mended, as far as ``error`` tells of that; None for any other error.

    It is an error of a running query, or of a file that the driver writes.
    """
    if isinstance(error, OSError) and (error.errno in _NO_ROOM or _CUT_SHORT.search(str(error))):
        where = f"{error.filename}: " if error.filename else ""
        reason = error.strerror or str(error)
        return OutputError(
            f"{where}a file cannot be written ({reason}); expected room, and a place that may be written"
        )
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
