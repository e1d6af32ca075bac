"""On PYTHONPATH, keeps a Python process and those it starts from other hosts, and writes down what they asked for."""

import os
import socket
import sys

_LOG = os.environ["NETWORK_GUARD_LOG"]
_HERE = {None, "", "localhost", "::1", "0.0.0.0", socket.gethostname()}


def _write(line: str) -> None:
    with open(_LOG, "a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def _refuse_other_hosts(event: str, args: tuple[object, ...]) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = args[1]
        host = address[0] if isinstance(address, tuple) else None  # a Unix socket has a path
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in _HERE and not str(host).startswith("127."):
        _write(f"asked for {host} ({event})")
        raise SystemExit(f"the network is blocked: {event} of {host}")


sys.addaudithook(_refuse_other_hosts)
_write(f"guarded {sys.orig_argv}")
