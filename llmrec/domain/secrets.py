"""Passwords in settings: how they are told from the rest, and kept out of what is printed, logged and recorded."""

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

HIDDEN = "***"
_IN_ADDRESS = re.compile(r"(?<=://)[^/@\s:]*:[^/@\s]*(?=@)|(?<=http://)[^/@\s]+(?=@)|(?<=https://)[^/@\s]+(?=@)")
"""User and password, or a token; elsewhere one part alone, as in abfss://container@account, is a place."""
_IN_QUERY = re.compile(
    r"(?<=[?&;])((?:x-amz-)?(?:sig|signature|credential|security-token|token|access_token|password|passwd|pwd|secret"
    r"|api_?key)=)([^&;\s\"']+)",
    re.IGNORECASE,
)
"""As in a signed address, or in that of a database."""
_NAMED = re.compile(
    r"(passw(or)?d|token|credentials?|(api|private)[._-]?key"
    r"|(secret|(?<![a-z])sas|(secret|access|account)[._-]?key)(\.[\w.-]+)?)$",
    re.IGNORECASE,
)
"""Such as fs.s3a.secret.key, fs.azure.account.key.NAME.dfs.core.windows.net and MLFLOW_TRACKING_PASSWORD."""
_SHORTEST = 4
"""Shorter values stand in too many words to be taken out of any text."""


def is_literal(key: str, value: str) -> bool:
    """Tell whether a setting, as written, holds a secret itself rather than the name of where it is.

    A value that begins with a slash is the path of a file, or where one is mounted.
    """
    told = [*_IN_ADDRESS.findall(value), *(secret for _, secret in _IN_QUERY.findall(value))]
    in_address = any("${" not in found for found in told)
    return in_address or bool(_NAMED.search(key) and value and "${" not in value and not value.startswith("/"))


def without_secrets(found: Any, key: str = "") -> Any:
    """Return settings, mappings and lists of text, with what is secret in them hidden."""
    if isinstance(found, dict):
        return {name: without_secrets(value, str(name)) for name, value in found.items()}
    if isinstance(found, list):
        return [without_secrets(value, key) for value in found]
    if found and _NAMED.search(key):
        return HIDDEN
    return _hide_in_addresses(found) if isinstance(found, str) else found


def _hide_in_addresses(text: str) -> str:
    return _IN_QUERY.sub(rf"\1{HIDDEN}", _IN_ADDRESS.sub(HIDDEN, text))


class Secrets:
    """What must not be told: passwords in addresses, whatever they are, and the given values wherever they stand."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        known = {form for value in values for form in (value, unquote(value)) if len(form) >= _SHORTEST}
        self._known = sorted(known, key=len, reverse=True)

    @staticmethod
    def of(settings: Any) -> "Secrets":
        """Collect those of settings, mappings and lists of text."""
        return Secrets(_secrets(settings, ""))

    def hide(self, text: str) -> str:
        """Return ``text`` without them."""
        for value in self._known:
            text = text.replace(value, HIDDEN)
        return _hide_in_addresses(text)


def _secrets(found: Any, key: str) -> Iterable[str]:
    if isinstance(found, dict):
        for name, value in found.items():
            yield from _secrets(value, str(name))
    elif isinstance(found, list):
        for value in found:
            yield from _secrets(value, key)
    elif isinstance(found, str):
        if _NAMED.search(key):
            yield found
        for address in _IN_ADDRESS.findall(found):
            yield address.partition(":")[2] or address
        yield from (secret for _, secret in _IN_QUERY.findall(found))
