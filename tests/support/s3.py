"""A small server that speaks S3's GetObject: an outside peer for inputs of bulk registration tasks."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

ACCESS_KEY, SECRET = "AKIDS3TESTS3TEST0001", "s3-secret"


class ObjectServer(ThreadingHTTPServer):
    """`objects` by `bucket/key`; `asked` are the requests' Range headers; `cut` ends every body after so many bytes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.asked: list[str | None] = []
        self.cut: int | None = None
        self.ranges = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: ObjectServer

    def do_GET(self) -> None:
        assert self.headers["Authorization"].startswith(f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/")
        found = self.server.objects.get(unquote(self.path).lstrip("/"))
        wanted = self.headers["Range"] if self.server.ranges else None
        self.server.asked.append(self.headers["Range"])
        if found is None:
            self._error(404, "NoSuchKey")
            return
        etag = f'"{hashlib.md5(found, usedforsecurity=False).hexdigest()}"'
        if self.headers["If-Match"] not in (None, etag):
            self._error(412, "PreconditionFailed")
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0  # type: ignore[index]
        if wanted and start >= len(found):
            self._error(416, "InvalidRange")
            return
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(found) - 1}/{len(found)}")
        self.send_header("Content-Length", str(len(found) - start))
        self.send_header("ETag", etag)
        self.end_headers()
        self.wfile.write(found[start:] if self.server.cut is None else found[start : start + self.server.cut])

    def _error(self, status: int, code: str) -> None:
        body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def object_server() -> Iterator[ObjectServer]:
    """Listening on a free port of loopback."""
    server = ObjectServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
