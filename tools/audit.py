"""Looks the locked packages up among known vulnerabilities, with pip-audit, as far as the network allows it.

    python tools/audit.py requirements/environment.lock

Exit codes: 0 none is known, or it says that it could not look; 1 it lists what is known; 2 pip-audit failed otherwise.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).parents[1] / "requirements" / "audit.lock"
_NO_NETWORK = re.compile(
    r"connect|dns|error sending request|failed to fetch|timed? ?out|HTTPError|name resolution|proxy|SSL", re.IGNORECASE
)


def audit(lock: str) -> subprocess.CompletedProcess[str]:
    """Run pip-audit on a lock file, without installing what is in it."""
    uv = [str(Path(sys.executable).parent / "uv"), "run", "--quiet", "--no-project", "--python", sys.executable]
    look = ["pip-audit", "--disable-pip", "--require-hashes", "--format", "json", "--progress-spinner", "off"]
    command = [*uv, "--with-requirements", str(TOOLS), *look, "--requirement", lock]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def report(lock: str, done: subprocess.CompletedProcess[str]) -> tuple[int, str]:
    """Return exit code and text of what pip-audit found; a package that it could not look up is not called safe."""
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        reason = next((line for line in reversed(done.stderr.strip().splitlines()) if line.strip()), "it said nothing")
        if _NO_NETWORK.search(done.stderr):
            return 0, f"{lock}: not checked, the network does not allow it ({reason[:200]})"
        return 2, f"{lock}: pip-audit failed ({reason[:200]})"
    unknown = [package for package in packages if "skip_reason" in package]
    found = [
        f"  {package['name']} {package['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'none'}"
        for package in packages
        for flaw in package.get("vulns", [])
    ]
    checked = f"{len(packages) - len(unknown)} of {len(packages)} packages checked"
    if unknown:
        checked += f", the others could not be looked up ({unknown[0]['skip_reason'][:200]})"
    return int(bool(found)), "\n".join([f"{lock}: {checked}, {len(found)} known vulnerabilities", *found])


def main() -> int:
    """Check each lock file that is named."""
    codes = []
    for lock in sys.argv[1:]:
        code, text = report(lock, audit(lock))
        print(text)
        codes.append(code)
    return max(codes, default=0)


if __name__ == "__main__":
    sys.exit(main())
