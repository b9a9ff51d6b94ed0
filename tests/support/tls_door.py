"""A door on loopback with an application that echoes, and everything that it was told."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from tests.support.tls_ca import Issued, device, server_chains

from handfast.core.identity.refusal import ReasonCode
from handfast.core.identity.security_policy import DEFAULT_SECURITY_POLICY
from handfast.seam import ListenerKind, TLSFacts
from handfast.tls.client_hello import ClientHello
from handfast.tls.contexts import Contexts
from handfast.tls.door import DoorFactory, TLSFailure
from handfast.tls.openssl.engine import AcceptCertificate, Engine, accept_any
from handfast.tls.places import DoorLimits
from handfast.tls.proxy_protocol import Proxies
from handfast.tls.serving import Serving
from handfast.tls.transport import TLSTransport

LIMIT_S = 15.0


class Echo(asyncio.Protocol):
    """Sends back what it receives."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.eof = False
        self.paused = 0
        self.resumed = 0
        self.transport: TLSTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, TLSTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.transport.write(data)

    def eof_received(self) -> None:
        self.eof = True

    def pause_writing(self) -> None:
        self.paused += 1

    def resume_writing(self) -> None:
        self.resumed += 1

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(exc)


class RecordingPlane:
    """Opens everything with `application()` and keeps what it was told."""

    def __init__(self, application: Callable[[], asyncio.Protocol] = Echo) -> None:
        self.application = application
        self.facts: list[TLSFacts] = []
        self.applications: list[asyncio.Protocol] = []
        self.failures: list[TLSFailure] = []
        self.told = asyncio.Event()

    def serving(self, sni: str | None, hello: ClientHello, address: str) -> Serving:
        return Serving(certificates="eu-west-1" if sni is not None and "eu-west-1" in sni else "us-east-1")

    def opened(self, facts: TLSFacts, transport: TLSTransport) -> asyncio.Protocol:
        application = self.application()
        self.facts.append(facts)
        self.applications.append(application)
        self.told.set()
        return application

    def failed(self, failure: TLSFailure) -> None:
        self.failures.append(failure)
        self.told.set()

    async def failure(self) -> TLSFailure:
        """The one failure, once it is told."""
        async with asyncio.timeout(LIMIT_S):
            while not self.failures:
                self.told.clear()
                await self.told.wait()
        assert 1 == len(self.failures)
        return self.failures[0]

    async def reason(self) -> ReasonCode:
        return (await self.failure()).reasons[0].code

    async def opened_one(self, count: int = 1) -> asyncio.Protocol:
        """The application of the `count`th connection, once it is open."""
        async with asyncio.timeout(LIMIT_S):
            while len(self.applications) < count:
                self.told.clear()
                await self.told.wait()
        return self.applications[count - 1]


class RunningDoor:
    def __init__(self, factory: DoorFactory, plane: RecordingPlane, port: int) -> None:
        self.factory = factory
        self.plane = plane
        self.port = port
        self.directory = Path(tempfile.mkdtemp(prefix="handfast-tls-"))
        self.roots = self.directory / "roots.pem"
        self.roots.write_bytes(server_chains().roots)

    def client_context(self, client: Issued | None = None, *, with_certificate: bool = True) -> ssl.SSLContext:
        """A stdlib client that trusts both roots and presents `client`, or a valid certificate."""
        context = ssl.create_default_context(cafile=str(self.roots))
        if with_certificate:
            context.load_cert_chain(*(client or device()).write(self.directory, "client"))
        return context

    async def connect(
        self, context: ssl.SSLContext | None = None, server_name: str = "localhost"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(LIMIT_S):
            return await asyncio.open_connection(
                "127.0.0.1", self.port, ssl=context or self.client_context(), server_hostname=server_name
            )

    async def connect_tcp(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(LIMIT_S):
            return await asyncio.open_connection("127.0.0.1", self.port)

    async def run(self, *command: str, stdin: bytes | None = b"") -> tuple[int, str]:
        """A client program to its end: exit status, and both outputs as one text. None: stdin stays open."""
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=self.directory,
        )
        async with asyncio.timeout(LIMIT_S):
            if stdin is None:
                assert process.stdout is not None
                output = await process.stdout.read()
                assert process.stdin is not None
                process.stdin.close()
                await process.wait()
            else:
                output, _ = await process.communicate(stdin)
        assert process.returncode is not None
        return process.returncode, output.decode(errors="replace")

    async def s_client(self, *options: str, client: Issued | None = None, stdin: bytes | None = b"") -> str:
        """`openssl s_client` with a client certificate and the roots; its output."""
        certificate, key = (client or device()).write(self.directory, "s_client")
        command = ("openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-cert", certificate, "-key", key)
        _, output = await self.run(*command, "-CAfile", str(self.roots), "-showcerts", *options, stdin=stdin)
        return output


def contexts(
    engine: type[Engine],
    prefer: str = "rsa",
    *,
    policy: str = DEFAULT_SECURITY_POLICY,
    accept: AcceptCertificate = accept_any,
    regions: tuple[str, ...] = (),
) -> Contexts:
    made = Contexts(prefer, policy, engine=engine, accept=accept)  # type: ignore[arg-type]
    for region in ("us-east-1", *regions):
        chains = server_chains(region)
        made.install(region, "rsa", chains.rsa.chain_pem, chains.rsa.key_pem)
        made.install(region, "ecdsa", chains.ecdsa.chain_pem, chains.ecdsa.key_pem)
    return made


@contextlib.asynccontextmanager
async def running_door(
    table: Contexts,
    plane: RecordingPlane | None = None,
    listener: ListenerKind = ListenerKind.MQTT,
    limits: DoorLimits | None = None,
    *,
    proxies: Proxies | None = None,
) -> AsyncIterator[RunningDoor]:
    loop = asyncio.get_running_loop()
    plane = plane or RecordingPlane()
    factory = DoorFactory(table, plane, listener, limits, proxies=proxies)
    server = await loop.create_server(factory, "127.0.0.1", 0)
    try:
        yield RunningDoor(factory, plane, server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for application in plane.applications:
            transport = getattr(application, "transport", None)
            if transport is not None:
                transport.abort()
