"""Prints a JAVA_HOME with Java 17 or newer: the one set, one on the PATH, else one installed into the environment."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = 17


def version_of(home: Path) -> int:
    """Return the major version of the Java in ``home``, 0 if there is none."""
    try:
        said = subprocess.run(
            [str(home / "bin" / "java"), "-version"], capture_output=True, text=True, check=True
        ).stderr
    except (OSError, subprocess.CalledProcessError):
        return 0
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(found.group(1)) if found else 0


def homes(environment: Path) -> list[Path]:
    """Return the places to look, in order."""
    places = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    if on_path := shutil.which("java"):
        places.append(Path(on_path).resolve().parents[1])
    return places + sorted((environment / "java").glob("*"))


def install(environment: Path) -> Path | None:
    """Install a JDK into the environment; None if that fails."""
    import jdk

    try:
        return Path(jdk.install(str(OLDEST), path=str(environment / "java")))
    except Exception as error:
        print(f"installing Java {OLDEST} failed: {error}", file=sys.stderr)
        return None


def main() -> None:
    """Find or install Java and print its home."""
    environment = Path(sys.prefix)
    home = next((place for place in homes(environment) if version_of(place) >= OLDEST), None) or install(environment)
    if home is None or version_of(home) < OLDEST:
        sys.exit(
            f"Java {OLDEST} or newer is needed and was found neither in JAVA_HOME nor on the PATH: "
            "install it (Debian: apt-get install openjdk-17-jre-headless) or set JAVA_HOME."
        )
    print(home)


if __name__ == "__main__":
    main()
