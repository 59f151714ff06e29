"""A Hugging Face hub on this machine: the addresses that downloads use, and the ways in which they fail."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from lib.demo.weights import find_weights
from lib.errors import UserError
from lib.releases import RELEASES

hub_constants = pytest.importorskip("huggingface_hub.constants")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SMALL = RELEASES["depth-anything-v2-small"]
HF_REPOSITORY = "somebody/Depth-Anything-V2-Tiny-hf"
CHUNK = 16 * 1024  # huggingface_hub writes chunks of this size
CONTENT = np.random.default_rng(0).bytes(300_000)  # stands for the weights where nobody opens them


class HubServer:
    """Serves repositories, {"owner/name" or "spaces/owner/name": {path: content}}, and plain files, {"/path": content}.

    Weights are handed out as the real hub does it: a redirect to another host, which gets no log-in. Faults are set by
    the attributes; `requests` records (method, path, Range header, Authorization header).
    """

    def __init__(self):
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.plain_files: dict[str, bytes] = {}
        self.model_info: dict[str, dict] = {}  # more for /api/models/owner/name
        self.refusals: dict[str, tuple[int, str]] = {}  # text in a path -> status and X-Error-Code
        self.requests: list[tuple[str, str, str | None, str | None]] = []
        self.cuts: list[int] = []  # each ends one transfer of weights after so many bytes
        self.damaged = False  # flips a bit of the weights
        self.ignores_range = False
        self.is_login_page = False  # answers everything with a friendly page
        self.stall_after: int | None = None  # weights stop after so many bytes, until `resume` is set
        self.stalled, self.resume = threading.Event(), threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def port(self) -> int:
        return self.server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self.resume.set()
        self.server.shutdown()
        self.server.server_close()

    def transfers(self) -> list[str | None]:
        """The Range headers of the requests for weights' bytes, in order."""
        return [wanted for method, path, wanted, _ in self.requests if method == "GET" and path.startswith("/cdn/")]

    def find(self, path: str) -> tuple[bytes, str] | None:
        """The content at a /resolve/ address, and its file name."""
        for name, files in self.repositories.items():
            for revision in ("main", COMMIT):
                prefix = f"/{name}/resolve/{revision}/"
                if path.startswith(prefix) and path.removeprefix(prefix) in files:
                    return files[path.removeprefix(prefix)], path.removeprefix(prefix)
        return None

    def find_blob(self, sha256: str) -> bytes | None:
        for files in self.repositories.values():
            for content in files.values():
                if hashlib.sha256(content).hexdigest() == sha256:
                    return content
        return None


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def answer(self, status: int, headers: dict, content: bytes = b"") -> None:
            self.send_response(status)
            for key, value in {"Content-Length": len(content), **headers}.items():
                self.send_header(key, str(value))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            path = unquote(urlsplit(self.path).path)
            hub.requests.append((self.command, path, self.headers.get("Range"), self.headers.get("Authorization")))
            if hub.is_login_page:
                return self.answer(200, {"Content-Type": "text/html"}, b"<html>Welcome to our wireless network</html>")
            for text, (status, code) in hub.refusals.items():
                if text in path:
                    return self.answer(status, {"X-Error-Code": code} if code else {})
            if path.startswith("/api/models/"):
                return self.model_info(path.removeprefix("/api/models/"))
            if path.startswith("/cdn/"):
                return self.weights(hub.find_blob(path.removeprefix("/cdn/")))
            if path in hub.plain_files:
                return self.weights(hub.plain_files[path])
            found = hub.find(path)
            if found is None:
                return self.answer(404, {"X-Error-Code": "EntryNotFound"})
            content, name = found
            if name.endswith(".json"):
                etag = hashlib.sha1(content).hexdigest()
                return self.answer(200, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, content)
            sha256 = hashlib.sha256(content).hexdigest()
            headers = {"X-Repo-Commit": COMMIT, "X-Linked-Size": len(content), "X-Linked-ETag": f'"{sha256}"'}
            # The same server under another name is, to a client, another host.
            self.answer(302, headers | {"Location": f"http://localhost:{hub.port}/cdn/{sha256}"})

        def model_info(self, name: str) -> None:
            if name not in hub.repositories:
                return self.answer(401, {"X-Error-Code": "RepoNotFound"})
            siblings = [{"rfilename": path} for path in hub.repositories[name]]
            info = {"id": name, "sha": COMMIT, "siblings": siblings, "tags": [], **hub.model_info.get(name, {})}
            self.answer(200, {"Content-Type": "application/json"}, json.dumps(info).encode())

        def weights(self, content: bytes | None) -> None:
            if content is None:
                return self.answer(404, {})
            first, status, headers = 0, 200, {}
            wanted = self.headers.get("Range")
            if wanted and not hub.ignores_range:
                first, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
                headers = {"Content-Range": f"bytes {first}-{len(content) - 1}/{len(content)}"}
            part = content[first:]
            if hub.damaged:
                part = bytes([part[0] ^ 1]) + part[1:]
            self.send_response(status)
            for key, value in {"Content-Length": len(part), **headers}.items():
                self.send_header(key, str(value))
            self.end_headers()
            if self.command == "HEAD":
                return
            if hub.cuts:
                self.wfile.write(part[: hub.cuts.pop(0)])
                self.close_connection = True
            elif hub.stall_after is not None:
                self.wfile.write(part[: hub.stall_after])
                hub.stalled.set()
                hub.resume.wait(60)
                self.close_connection = True
            else:
                self.wfile.write(part)

    return Handler


@contextmanager
def running_hub(monkeypatch) -> Iterator[HubServer]:
    """A hub that has the small V2 model, and at which HF_ENDPOINT points."""
    server = HubServer()
    server.repositories[SMALL.repository] = {SMALL.path: CONTENT}
    monkeypatch.setenv("HF_ENDPOINT", server.url + "/")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(hub_constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)
    real_sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: real_sleep(min(seconds, 0.02)))  # between the hub's retries
    try:
        yield server
    finally:
        server.close()


def names_in(folder: Path) -> list[str]:
    """Everything below the folder, hidden files included."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) if folder.exists() else []


def failure(name: str, folder: Path) -> str:
    """The sentence with which fetching this fails."""
    with pytest.raises(UserError) as caught:
        find_weights(name, folder=folder)
    message = str(caught.value)
    assert "\n" not in message and "Traceback" not in message and len(message) < 600, message
    return message


def put_repository(hub: HubServer, *, weights: bytes) -> None:
    """HF_REPOSITORY with this content."""
    hub.repositories[HF_REPOSITORY] = {"config.json": b'{"model_type": "depth_anything"}', "model.safetensors": weights}
