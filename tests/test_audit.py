"""What tools/audit.py makes of what pip-audit says."""

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("audit", Path(__file__).parents[1] / "tools" / "audit.py")
assert _SPEC and _SPEC.loader
audit = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(audit)

SAFE = {"name": "safe", "version": "1.0", "vulns": []}
FLAWED = {"name": "flawed", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"], "aliases": []}]}
UNKNOWN = {"name": "unknown", "skip_reason": "Dependency not found"}


def said(packages: list[dict], code: int = 0) -> tuple[int, str]:
    return audit.report("a.lock", subprocess.CompletedProcess([], code, json.dumps({"dependencies": packages}), ""))


def failed(text: str) -> tuple[int, str]:
    return audit.report("a.lock", subprocess.CompletedProcess([], 1, "", text))


def test_vulnerabilities_are_listed_and_fail() -> None:
    code, text = said([SAFE, FLAWED], 1)
    assert code == 1
    assert text == ("a.lock: 2 of 2 packages checked, 1 known vulnerabilities\n  flawed 2.0: PYSEC-1, mended in 2.1")


def test_packages_that_could_not_be_looked_up_are_not_called_safe() -> None:
    code, text = said([SAFE, UNKNOWN])
    assert code == 0
    assert "1 of 2 packages checked, the others could not be looked up (Dependency not found), 0 known" in text


@pytest.mark.parametrize(
    "text",
    [
        "ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed",
        "ERROR:pip_audit._cli:504 Server Error: requests.exceptions.HTTPError",
        "error: Request failed after 3 retries\n  Caused by: Failed to fetch: `pip-audit`\n  Caused by: dns error",
    ],
)
def test_without_a_network_it_says_so_and_does_not_fail(text: str) -> None:
    code, told = failed(text)
    assert code == 0
    assert "a.lock: not checked, the network does not allow it" in told


def test_another_failure_fails() -> None:
    code, text = failed("ERROR:pip_audit._cli:requirement torch is not pinned")
    assert code == 2
    assert "pip-audit failed (ERROR:pip_audit._cli:requirement torch is not pinned)" in text
