"""A web server on this machine for tests: it serves files, misbehaves when told to, and speaks the Hub's protocol."""

import hashlib
import json
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

REVISION = "0123456789abcdef0123456789abcdef01234567"
CUT = "cut"
"""A fault: the connection ends in the middle of the body."""


class Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]  # names in lower case


class Answer(NamedTuple):
    status: int
    body: bytes = b""
    headers: dict[str, str] = {}  # noqa: RUF012


class Web:
    """What is served, what goes wrong, and what was asked for.

    `faults` holds, by path, what happens to the next GET requests: a status, or `CUT`.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.answers: dict[str, Answer] = {}
        self.faults: dict[str, list[int | str]] = {}
        self.requests: list[Request] = []

    def serve(self, path: str, body: bytes, **headers: str) -> str:
        """Serve a file; its address."""
        marks = {"ETag": f'"{hashlib.sha1(body).hexdigest()}"', **headers}
        self.answers[path] = Answer(200, body, marks)
        return self.address + path

    def serve_model(self, repo: str, folder: Path, revision: str = REVISION) -> None:
        """Serve a folder as the Hub serves a repository at one commit."""
        files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        siblings = [{"rfilename": name, "size": len(body)} for name, body in files.items()]
        info = json.dumps({"id": repo, "sha": revision, "siblings": siblings}).encode()
        self.answers[f"/api/models/{repo}/revision/{revision}"] = Answer(200, info)
        for name, body in files.items():
            self.serve(f"/{repo}/resolve/{revision}/{name}", body, **{"X-Repo-Commit": revision})

    def forbid(self, repo: str, code: str, status: int = 403) -> None:
        """Answer requests for a repository's files with one of the Hub's errors."""
        for path in self.answers:
            if path.startswith(f"/{repo}/resolve/"):
                self.answers[path] = Answer(status, headers={"X-Error-Code": code})

    def answer(self, path: str) -> Answer:
        if path in self.answers:
            return self.answers[path]
        known = any(other.startswith("/api/models/" + "/".join(path.split("/")[3:5]) + "/") for other in self.answers)
        return Answer(404, headers={"X-Error-Code": "RevisionNotFound" if known else "RepoNotFound"})

    def asked(self, ending: str, method: str = "GET") -> list[Request]:
        """The requests for paths that end so."""
        return [request for request in self.requests if request.method == method and request.path.endswith(ending)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: Web

    def do_HEAD(self) -> None:
        self._note()
        self._send(self.web.answer(self._path), with_body=False)

    def do_GET(self) -> None:
        self._note()
        faults = self.web.faults.get(self._path)
        fault = faults.pop(0) if faults else None
        if isinstance(fault, int):
            self._send(Answer(fault))
        else:
            self._send(self.web.answer(self._path), cut=fault == CUT)

    @property
    def _path(self) -> str:
        return self.path.partition("?")[0]

    def _note(self) -> None:
        self.web.requests.append(Request(self.command, self._path, {k.lower(): v for k, v in self.headers.items()}))

    def _send(self, answer: Answer, with_body: bool = True, cut: bool = False) -> None:
        status, body, headers = answer
        if status == 200 and (first := self._first_byte(headers)):
            if first >= len(body):
                status, body = 416, b""
            else:
                status, headers = 206, headers | {"Content-Range": f"bytes {first}-{len(body) - 1}/{len(body)}"}
                body = body[first:]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = self.close_connection or cut

    def _first_byte(self, headers: dict[str, str]) -> int:
        if self.headers.get("If-Range", headers.get("ETag")) != headers.get("ETag"):
            return 0
        return int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])

    def log_message(self, *_) -> None:
        """Nothing: tests look at `requests`."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address) -> None:
        """Clients that turn away before the end are part of the tests."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving():
    """A server on a free port of this machine, for as long as the block lasts."""
    handler = type("Handler", (_Handler,), {})
    server = _Server(("127.0.0.1", 0), handler)
    handler.web = Web(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield handler.web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
