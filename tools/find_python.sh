#!/usr/bin/env bash
# Prints a Python 3.10, 3.11 or 3.12 that can make a virtual environment.
for python in python3 python3.12 python3.11 python3.10; do
  if "$python" -c 'import sys, ensurepip, venv; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
    command -v "$python"
    exit 0
  fi
done
echo "Python 3.10, 3.11 or 3.12 with venv is needed and none was found on the PATH (Debian: apt-get install python3-venv)." >&2
exit 1
