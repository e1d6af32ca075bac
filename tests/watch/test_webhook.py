"""Calls to a real server on this host."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from llmrec.watch import webhook

TOKEN = "t0ken-of-the-hook"


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.calls: list[tuple[str, str, bytes]] = []
        self.answer, self.dripping = 204, False
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hooks/{TOKEN}"


class Answering(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.calls.append((self.path, self.headers["Content-Type"], body))
        if self.server.dripping:
            for letter in "HTTP/1.1 204 " + "x" * 1000:
                self.wfile.write(letter.encode())
                time.sleep(0.1)
        self.send_response(self.server.answer)
        if self.server.answer == 302:
            self.send_header("Location", self.server.address + "/elsewhere")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.shutdown()
    server.server_close()


def test_one_json_object_is_posted_and_nothing_said(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    webhook.call(server.address, {"job": "score", "exit_code": 3, "message": "чай\x1b"})
    [(path, kind, body)] = server.calls
    assert (path, kind) == (f"/hooks/{TOKEN}", "application/json")
    assert json.loads(body) == {"job": "score", "exit_code": 3, "message": "чай\x1b"}
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("answer", "says"), [(500, "HTTPError 500"), (302, "HTTPError 302")])
def test_a_refusal_or_a_redirect_is_said_without_the_address(
    server: Server, answer: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answer = answer
    webhook.call(server.address, {})
    assert len(server.calls) == 1
    said = capsys.readouterr().err
    assert f"LLMREC_FAILURE_WEBHOOK: the call did not succeed ({says})" in said
    assert TOKEN not in said


def test_a_server_that_answers_letter_by_letter_is_not_waited_for(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(webhook, "_AT_MOST", 0.5)
    server.dripping = True
    began = time.monotonic()
    webhook.call(server.address, {})
    assert time.monotonic() - began < 3
    assert "no answer in time" in capsys.readouterr().err


@pytest.mark.parametrize(
    "address", [f"http://127.0.0.1:9/{TOKEN}", f"http://no host/{TOKEN}", f"file:///{TOKEN}", f"ftp://h/{TOKEN}", TOKEN]
)
def test_an_address_that_cannot_be_called_is_not_repeated(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    webhook.call(address, {})
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert TOKEN not in said
