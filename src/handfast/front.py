"""
The API door's request path, from top to bottom: Host check, health, metrics, trust, then the signed API.

Only what stands here is answered without credentials.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from handfast.core.pki.pointers import CERTIFICATES, LISTS
from handfast.services.publication import Publication

PEM = "application/x-pem-file"
NDJSON = "application/x-ndjson"


class OwnHosts:
    """
    An application that answers only requests for names of this server, from no page of another site.

    With `--dev`, where any signature counts, this is what keeps a page in a browser
    from reaching it by a name of the page's own that resolves to loopback; and pages of
    other origins are refused, which could send a signature in a query.
    """

    def __init__(
        self, app: ASGIApp, hosts: frozenset[str] | None, *, also: Callable[[str], bool] = lambda name: False
    ) -> None:
        """
        Args:
            app: Answers what is let through.
            hosts: The `Host` names that are answered; None answers all.
            also: Whether a further name is answered.
        """
        self._app = app
        self._hosts = hosts
        self._also = also

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._hosts is not None:
            text = None
            if not self._is_ours(scope, self._hosts):
                text = "This Host is not one of the server's names: use a loopback name, or start with --server-name.\n"
            elif _is_of_another_site(scope):
                text = "Pages of other sites cannot use a server that was started with --dev.\n"
            if text is not None:
                await PlainTextResponse(text, 403)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_ours(self, scope: Scope, own: frozenset[str]) -> bool:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1:
            return False
        host = hosts[0].decode("latin-1").lower()
        name = host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.rsplit(":", 1)[0]
        return name.strip("[]") in own or self._also(name)


class FrontDoor:
    """
    The ASGI application of the API port.

    Args:
        api: Answers everything that is not named here; verifies signatures itself.
        trust_dir: Its `*.pem` files are published below `/trust/`.
        metrics: Renders the exposition format.
        metrics_token: The bearer token that `/metrics` asks for away from loopback; None closes it there.
        loopback: Whether only this machine can reach the port.
        hosts: See `OwnHosts`.
        report: The file of a bulk registration task that a token opens, if it does.
        published: The issuer's certificate (folder `aia`) or list of revocations (`crl`) of this name.
        public_path: What stands before these folders in the public URL; without it they are answered too, for
            proxies that take it away.
    """

    def __init__(
        self,
        *,
        api: ASGIApp,
        trust_dir: Path,
        metrics: Callable[[], bytes],
        metrics_token: bytes | None,
        loopback: bool,
        hosts: frozenset[str] | None,
        report: Callable[[str], Path | None] = lambda _token: None,
        published: Callable[[str, str], Publication | None] = lambda _folder, _name: None,
        public_path: str = "",
    ) -> None:
        self._trust_dir = trust_dir
        self._metrics = metrics
        self._metrics_token = metrics_token
        self._loopback = loopback
        self._report = report
        self._published = published
        prefixes = dict.fromkeys(("", public_path))
        router = Router(
            routes=[
                Route("/healthz", self._healthz, methods=["GET"]),
                Route("/metrics", self._serve_metrics, methods=["GET"]),
                Route("/trust", self._list_trust, methods=["GET"]),
                Route("/trust/{name}", self._serve_trust, methods=["GET"]),
                Route("/bulk-reports/{token}", self._serve_report, methods=["GET"]),
                *(
                    Route(f"{prefix}/{folder}/{{name}}", self._serve_published, methods=["GET"])
                    for prefix in prefixes
                    for folder in (CERTIFICATES, LISTS)
                ),
            ],
            redirect_slashes=False,
            default=api,
        )
        self._guarded = OwnHosts(router, hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._guarded(scope, receive, send)

    async def _healthz(self, _request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _serve_metrics(self, request: Request) -> Response:
        if not self._loopback:
            given = request.headers.get("authorization", "").encode("latin-1")
            expected = b"Bearer " + (self._metrics_token or b"")
            if self._metrics_token is None or not hmac.compare_digest(given, expected):
                return PlainTextResponse(
                    "A bearer token is needed: start with --metrics-token-file.\n",
                    401,
                    headers={"WWW-Authenticate": "Bearer"},
                )
        return Response(self._metrics(), media_type="text/plain; version=0.0.4")

    async def _list_trust(self, _request: Request) -> Response:
        return PlainTextResponse("".join(f"/trust/{name}\n" for name in sorted(self._trust_files())))

    async def _serve_trust(self, request: Request) -> Response:
        path = self._trust_files().get(request.path_params["name"])
        if path is None:
            return PlainTextResponse("No such trust file; GET /trust lists them.\n", 404)
        return Response(path.read_bytes(), media_type=PEM)

    async def _serve_published(self, request: Request) -> Response:
        folder, name = request.url.path.split("/")[-2:]
        found = self._published(folder, name)
        if found is None:
            return PlainTextResponse("Nothing of this name is published here; see --public-url.\n", 404)
        tag = found.entity_tag
        headers = {"etag": tag, "cache-control": "public, max-age=300", "x-content-type-options": "nosniff"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(found.content, media_type=found.media_type, headers=headers)

    async def _serve_report(self, request: Request) -> Response:
        path = self._report(request.path_params["token"])
        if path is None:
            return PlainTextResponse(
                "This link is not good any more, or never was: ListThingRegistrationTaskReports gives new ones.\n", 404
            )
        headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
        return FileResponse(path, media_type=NDJSON, headers=headers, filename=path.name)

    def _trust_files(self) -> dict[str, Path]:
        """By listing and not by joining: a name from outside never becomes part of a path."""
        return {path.name: path for path in self._trust_dir.glob("*.pem")}


def _is_of_another_site(scope: Scope) -> bool:
    """Whether a browser says that a page made this request and that the page is not one of ours."""
    given = {name: value for name, value in scope["headers"] if name in (b"host", b"origin", b"sec-fetch-site")}
    if given.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
        return True
    origin = given.get(b"origin")
    return origin is not None and origin.partition(b"://")[2] != given.get(b"host")
