"""
The composition root: the only place that names concrete adapters.

`serve` reads from top to bottom: directory, sockets, registry, PKI, identity,
data plane, doors. What was started is stopped in reverse.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import structlog
import uvloop

from handfast.announcing import announce, reveal_root_passphrase, say
from handfast.api_calls import api_refusal, dev_keys, key_lookup
from handfast.audit_trail import start_audit
from handfast.backups import Backups
from handfast.bulk_tasks import BulkTasks
from handfast.bus.local import LocalBus
from handfast.certificate_status import start_publishing, start_stapling
from handfast.config.secret_file import private_secret
from handfast.config.settings import Settings
from handfast.control import bulk_registration, certificates
from handfast.control.handlers import build_handfast_handlers, build_handlers
from handfast.control.quotas import CallRates
from handfast.core.identity.ids import AccountId, Scope
from handfast.data.handlers import DataHandlers
from handfast.data.https import HttpsApplication
from handfast.datadir import prepare
from handfast.domain_names import DomainNames
from handfast.doors import Doors, named_endpoints, preferences
from handfast.first_connections import start_just_in_time, start_provisioning
from handfast.first_device import next_device
from handfast.fleet_provisioning import start_fleet_provisioning
from handfast.front import FrontDoor, OwnHosts
from handfast.gateway.gateway import Gateway
from handfast.gateway.limits import GatewayLimits
from handfast.hooking import Hooking
from handfast.http_server import HttpServer
from handfast.keystore.file import FileKeyStore
from handfast.keystore.pool import KeyPool
from handfast.legacy_endpoint import LegacyEndpoint
from handfast.listeners import bind_all, open_doors
from handfast.ports import Cause, Change
from handfast.records import Records
from handfast.rehearsing import Rehearsing, start_rollover
from handfast.server_leaves import ServerLeaves
from handfast.services.account_keys import PlaneByCredential
from handfast.services.accounts import Accounts
from handfast.services.authorities import LOCAL_NAMES, ServerAuthority
from handfast.services.endpoints import EndpointDirectory
from handfast.services.expiry_gauges import ExpiryGauges
from handfast.services.first_run import ensure_first_run
from handfast.services.issuers import DefaultIssuers
from handfast.services.principals import PrincipalCache
from handfast.services.registry import Registry
from handfast.services.registry_events import RegistryEvents
from handfast.services.revocation import Revocations
from handfast.services.rotation_watch import RotationWatch
from handfast.services.template_gate import TemplateGate
from handfast.services.verdict import Verdict
from handfast.services.what_if import WhatIf
from handfast.storage.sql import SQLStore
from handfast.telemetry.clock import SystemClock
from handfast.telemetry.entropy import SystemEntropy
from handfast.telemetry.logging import configure_logging
from handfast.telemetry.metrics import PrometheusMeter
from handfast.tls.contexts import Contexts
from handfast.verifier import Verifier
from handfast.websocket_door import WebSocketDoor, account_keys
from handfast.wire.sigv4 import Authenticator
from handfast.wire.skeleton import ApiApplication, ApiRefusal, MountedService
from handfast.wire.spec import load_service

IOT_SIGNING_NAMES = ("iot", "execute-api")
DATA_SIGNING_NAMES = ("iotdata", "iotdevicegateway", "execute-api")

log = structlog.get_logger("handfast")


def serve(settings: Settings, origins: Mapping[str, str]) -> int:
    """
    Run the plane in the foreground until SIGTERM or Ctrl-C.

    Returns:
        The exit status: 0.

    Raises:
        ConfigurationError: Anything that stops the start; the command line prints one line and exits with 2.
    """
    os.umask(0o077)
    configure_logging(log_format=settings.log_format, level=settings.log_level)
    made = prepare(settings.data_dir, dev=settings.dev)
    return uvloop.run(_run(settings, first_run=made))


async def _run(settings: Settings, *, first_run: bool) -> int:
    stopping = asyncio.Event()
    _stop_on_signals(stopping)
    async with AsyncExitStack() as stack:
        plane = Plane(settings, stack)
        await plane.start(first_run=first_run)
        _keep_what_is_loaded()
        await stopping.wait()
        log.info("stopping")
    return 0


def _keep_what_is_loaded() -> None:
    """
    Garbage collection leaves alone what a start has loaded.

    Looking through all of it again and again would stop every connection for a tenth of a second each time. What
    connections leave behind is young, and found as before. Nothing is collected first: a start leaves next to nothing.
    """
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)


def _stop_on_signals(stopping: asyncio.Event) -> None:
    """The first SIGTERM or Ctrl-C stops in order, a second one at once."""
    loop = asyncio.get_running_loop()

    def asked() -> None:
        if stopping.is_set():
            os._exit(1)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)


class Plane:
    """One process of the identity plane: what `handfast serve` starts and stops."""

    def __init__(self, settings: Settings, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._clock = SystemClock()
        self._entropy = SystemEntropy()
        self._meter = PrometheusMeter()
        self._bus = LocalBus()
        self._contexts = Contexts(prefer=settings.prefer_chain, policy=settings.tls_policy)

    async def start(self, *, first_run: bool) -> None:
        """Every listener accepts, then the ready file appears and the start screen is printed."""
        settings, stack = self._settings, self._stack
        data_dir = settings.data_dir
        key_passphrase = private_secret(settings.key_passphrase_file, "--key-passphrase-file")

        sockets = bind_all(settings, stack)

        # The store first: its lock is what keeps a second process out of the directory.
        registry_at = settings.database_url or data_dir / "handfast.db"
        store = await SQLStore.open(registry_at, passphrase=key_passphrase, announce=say)
        stack.push_async_callback(store.close)
        backups = Backups(data_dir, registry_at, self._clock)
        stack.push_async_callback(backups.close)
        records = Records.open(settings, store, self._clock, self._entropy, self._meter, stack)
        refusals, recorder, checking = records.refusals, records.recorder, records.checking

        self._authority = await asyncio.to_thread(
            ServerAuthority.open,
            data_dir,
            region=settings.region,
            domain=settings.domain,
            server_names=settings.server_names,
            clock=self._clock,
            entropy=self._entropy,
            root_passphrase=private_secret(settings.root_passphrase_file, "--root-passphrase-file"),
            key_passphrase=key_passphrase,
            keystore=FileKeyStore,
            progress=say,
            reveal=reveal_root_passphrase,
            public_url=settings.public_url,
        )
        audit = await start_audit(
            store,
            data_dir,
            passphrase=key_passphrase,
            clock=self._clock,
            entropy=self._entropy,
            meter=self._meter,
            stack=stack,
        )
        self._stapler = start_stapling(settings, self._contexts, self._clock, self._entropy, self._meter, stack)
        self._published = await start_publishing(settings, store, self._authority, self._clock, self._meter, stack)
        device_keys = KeyPool()
        stack.push_async_callback(device_keys.close)
        issuer = self._authority.device_issuer(device_keys)

        keys = await ensure_first_run(store, data_dir / "credentials", self._clock, self._entropy)
        accounts = Accounts(store, self._entropy, self._clock, self._notify)
        self._endpoints = EndpointDirectory(
            store, self._entropy, settings.domain, self._notify, legacy=settings.legacy_endpoint
        )
        await self._endpoints.load()
        self._account_keys = account_keys(accounts, self._endpoints, recorder, self._clock, dev=settings.dev)
        self._domains = await DomainNames.open(
            store, data_dir, self._endpoints, self._contexts, self._clock, self._entropy, key_passphrase, self._stapler
        )
        self._legacy = LegacyEndpoint(settings, self._contexts, self._endpoints, self._clock, self._entropy)
        await self._legacy.open(key_passphrase)
        self._leaves = ServerLeaves(
            self._authority, self._legacy, self._contexts, self._clock, serves_cross=settings.serve_cross
        )
        self._issuers = DefaultIssuers(store, settings.region)
        await self._issuers.load()
        self._principals = PrincipalCache(store, self._clock)
        stack.push_async_callback(self._principals.close)
        self._just_in_time = await start_just_in_time(
            store,
            settings,
            clock=self._clock,
            entropy=self._entropy,
            notify=self._notify,
            protocol_of=self._domains.protocol_of,
            stack=stack,
        )
        self._events = RegistryEvents(store, self._entropy)
        await self._events.load()
        self._rotations = RotationWatch(store, self._clock, self._notify)
        await self._rotations.load()
        stack.push_async_callback(self._rotations.close)
        first = keys.account.account_id
        endpoint = await self._first_endpoint(first)
        await audit.seal()  # a server that is killed in its first second leaves a trail that vouches for its beginnings
        for region in self._endpoints.regions() | {settings.region}:
            await self._leaves.ensure(region)

        local_names = (*LOCAL_NAMES, *settings.server_names)
        verdict = Verdict(
            store=store,
            principals=self._principals,
            endpoints=self._endpoints,
            recorder=recorder,
            clock=self._clock,
            region=settings.region,
            first_account=first,
            local_names=local_names,
            lenient_sni=settings.sni == "lenient",
            issuer_scope=self._issuers.scope_of,
            first_connections=self._just_in_time,
            arrivals=self._rotations,
            decisions=records.decisions.log,
            domains=self._domains.directory,
            issued_claim=issuer.issued_claim,
            sightings=records.sightings.log,
        )
        gateway = Gateway(
            PlaneByCredential(verdict, self._account_keys),
            records.sessions,
            clock=self._clock,
            entropy=self._entropy,
            meter=self._meter,
            limits=GatewayLimits(quotas=settings.quotas == "aws"),
            explain=settings.refusals == "explain",
            observer=checking.observations,
        )
        self._principals.command(gateway)
        self._account_keys.command(gateway)
        self._domains.command(gateway)
        self._events.command(gateway)

        verifier = Verifier()
        stack.push_async_callback(verifier.close)
        gate = TemplateGate(settings.template_lint)
        hooking = await Hooking.open(settings.file, store, self._clock, self._entropy, self._meter, self._notify)
        stack.push_async_callback(hooking.close)
        registry = Registry(
            store, issuer, self._entropy, self._notify, ask=verifier.ask, template_gate=gate, hooks=hooking.hooks
        )
        stack.push_async_callback(registry.settle)
        domains, server_certificates = self._domains.services(
            registry.commit, self._leaves.ensure, settings, local_names
        )
        runs = start_provisioning(self._just_in_time, store, registry.provisioner, gateway, settings)
        start_fleet_provisioning(
            store,
            issuer,
            registry.provisioner,
            gateway,
            clock=self._clock,
            entropy=self._entropy,
            meter=self._meter,
            notify=self._notify,
            recorder=recorder,
            stack=stack,
            hooks=hooking.pre_provisioning,
            providers=hooking.certificate_providers,
        )
        bulk_tasks = BulkTasks(
            settings.file, data_dir, store, registry, self._clock, self._entropy, first_account=first
        )
        stack.push_async_callback(bulk_tasks.tasks.close)
        rollover = await start_rollover(
            self._authority,
            self._contexts,
            store,
            self._endpoints,
            clock=self._clock,
            entropy=self._entropy,
            meter=self._meter,
            notify=self._notify,
            present=self._leaves.present,
            serves_cross=settings.serve_cross,
            stack=stack,
        )
        verdict.also_stands_in(rollover.is_canary)
        rates = CallRates() if settings.quotas == "aws" else None
        authenticator = Authenticator(
            key_lookup(accounts), self._clock, dev=dev_keys(accounts) if settings.dev else None
        )
        data = MountedService(load_service("iot-data"), DataHandlers(gateway).handlers(), DATA_SIGNING_NAMES)

        def refused_call(refused: ApiRefusal) -> None:
            refusals.record(api_refusal(refused, self._clock))

        api = ApiApplication(
            [
                MountedService(
                    load_service("iot"),
                    build_handlers(
                        registry,
                        self._endpoints,
                        self._leaves.ensure,
                        bulk_tasks.tasks,
                        hooking.certificate_providers,
                        domains,
                        rates,
                    ),
                    IOT_SIGNING_NAMES,
                    body_limits=certificates.BODY_LIMITS,
                ),
                data,
                MountedService(
                    load_service("handfast"),
                    build_handfast_handlers(
                        registry,
                        accounts,
                        self._endpoints,
                        self._leaves.ensure,
                        refusals,
                        backups,
                        audit,
                        checking.checks,
                        WhatIf(store, self._principals, records.decisions.log),
                        hooking.hooks,
                        runs,
                        Revocations(registry.certificates, gateway, self._meter),
                        server_certificates,
                        rollover,
                        records.sightings.log,
                    ),
                    body_limits=bulk_registration.BODY_LIMITS,
                ),
            ],
            authenticator,
            self._clock,
            self._entropy,
            on_refused=refused_call,
        )
        own_hosts = frozenset(filter(None, (*local_names, self._published.host))) if settings.dev else None
        websockets = WebSocketDoor(gateway, authenticator, recorder, self._meter, self._entropy)
        front = FrontDoor(
            api=websockets.before(api),
            trust_dir=data_dir / "trust",
            metrics=self._meter.render,
            metrics_token=private_secret(settings.metrics_token_file, "--metrics-token-file"),
            loopback=settings.is_loopback,
            hosts=own_hosts,
            report=bulk_tasks.links.report,
            published=self._published.get,
            public_path=self._published.path,
        )

        device_http = HttpServer(HttpsApplication(verdict, gateway, self._entropy))
        api_http = HttpServer(front)
        admit, admit_websocket = named_endpoints(
            self._endpoints, local_names, settings.sni == "lenient", self._domains.directory.refusal
        )
        signed = ApiApplication(
            [data],
            authenticator,
            self._clock,
            self._entropy,
            on_refused=refused_call,
            signature_first=True,
            admit=admit,
        )
        signed_http = HttpServer(
            OwnHosts(
                websockets.before(signed, admit_websocket),
                own_hosts,
                also=lambda name: self._endpoints.resolve_sni(name) is not None,
            )
        )
        doors = Doors(
            self._endpoints,
            settings.region,
            recorder,
            self._meter,
            mqtt=gateway.accept,
            https=device_http.protocol,
            signed=signed_http.protocol,
            api=api_http.protocol,
            deciders=[self._domains.serving, self._legacy.decide],
            protocol_of=self._domains.protocol_of,
            amend=Rehearsing(rollover),
            preferred=preferences(settings.prefer_chain_for),
        )
        await open_doors(
            settings,
            sockets,
            self._contexts,
            doors,
            gateway,
            api=api_http,
            others=(device_http, signed_http),
            stack=stack,
        )
        renewals = asyncio.create_task(self._leaves.keep())
        stack.callback(renewals.cancel)
        self._rotations.start()
        gauges = ExpiryGauges(store, self._meter, self._clock, self._authority.first_expiry)
        stack.callback(asyncio.create_task(gauges.run()).cancel)

        mqtt_port = sockets["mqtt"].getsockname()[1]
        device = await next_device(store, Scope(first, settings.region), endpoint, mqtt_port, folder=Path.cwd())
        announce(settings, sockets, endpoint, first, first_run=first_run, device=device, stack=stack)
        await bulk_tasks.tasks.resume()
        device_keys.fill()

    # --- the parts of a start

    async def _first_endpoint(self, account: AccountId) -> str:
        scope = Scope(account, self._settings.region)
        cause = Cause(actor="handfast:start", address="", operation="FirstRun", request_id="", at=self._clock.now())
        await self._endpoints.ensure(scope, cause)
        return self._endpoints.endpoint_name(scope)

    async def _notify(self, changes: Sequence[Change]) -> None:
        """After each commit, before the API answers: caches and live connections obey."""
        await self._endpoints.changed(changes)
        await self._domains.changed(changes)
        await self._issuers.changed(changes)
        await self._just_in_time.changed(changes)
        await self._principals.apply(changes)
        await self._account_keys.changed(changes)
        await self._rotations.changed(changes)
        await self._events.changed(changes)
        self._published.changed(changes)
        self._bus.announce(changes)


def implemented_operations() -> Mapping[str, Collection[str]]:
    """The names of the operations that have a handler, by model, read off the very tables that `serve` mounts."""
    nothing: Any = _Unbound()
    return {
        "iot": frozenset(build_handlers(*[nothing] * 6)),
        "iot-data": frozenset(DataHandlers(nothing).handlers()),
        "handfast": frozenset(build_handfast_handlers(*[nothing] * 15)),
    }


class _Unbound:
    """Stands for services where only the handlers' names are read."""

    def __getattr__(self, name: str) -> Any:
        return self
