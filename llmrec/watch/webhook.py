"""Calls an address when a job failed. The address may hold a token, so it is in the environment, and never told."""

import json
import sys
import threading
from collections.abc import Mapping
from typing import Any
from urllib.request import HTTPRedirectHandler, Request, build_opener

VARIABLE = "LLMREC_FAILURE_WEBHOOK"
_AT_MOST = 5.0
"""Seconds that a call may take, from the name of the host to the answer."""


class _Stay(HTTPRedirectHandler):
    """Follows no redirect: what is told is told to the address that was named."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Refuse."""


def call(address: str, told: Mapping[str, Any]) -> None:
    """POST ``told`` as one JSON object; whatever goes wrong is said in a line, without the address."""
    if not address.startswith(("http://", "https://")):
        print(f"{VARIABLE}: is no http or https address, so nobody was called", file=sys.stderr)
        return
    problems = ["no answer in time"]

    def post() -> None:
        body, kind = json.dumps(told, default=str).encode("ascii"), {"Content-Type": "application/json"}
        try:
            with build_opener(_Stay).open(Request(address, body, kind), timeout=_AT_MOST):
                problems.clear()
        except Exception as error:  # of many kinds, and their texts may hold the address
            problems[:] = [f"{type(error).__name__} {getattr(error, 'code', '')}".strip()]

    calling = threading.Thread(target=post, daemon=True)  # a slow name server or answer knows no timeout
    calling.start()
    calling.join(_AT_MOST)
    for problem in problems[:1]:
        print(f"{VARIABLE}: the call did not succeed ({problem})", file=sys.stderr)
