"""What a start tells people and other programs: the start screen, serve.json, the ready file."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from handfast import __version__
from handfast.cli.connection import resolves
from handfast.cli.screens import ServeInfo, start_screen
from handfast.config.settings import Settings
from handfast.core.identity.ids import AccountId
from handfast.datadir import write_atomically
from handfast.errors import ConfigurationError
from handfast.listeners import address_of, netloc_of


def announce(
    settings: Settings,
    sockets: Mapping[str, socket.socket],
    endpoint: str,
    account: AccountId,
    *,
    first_run: bool,
    device: tuple[str, bool],
    stack: AsyncExitStack,
) -> None:
    """
    The start screen is printed, and serve.json and the ready file are there until the stack is left.

    `device` is the one that the screen speaks of, as `first_device.next_device` has it.

    Raises:
        ConfigurationError: The ready file cannot be written.
    """
    ready = {
        "pid": os.getpid(),
        "api": f"{'https' if settings.api_tls else 'http'}://{netloc_of(sockets['api'])}",
        "mqtt": address_of(sockets["mqtt"]),
        "https": address_of(sockets["https"]),
        "alpn": address_of(sockets["alpn"]) if "alpn" in sockets else None,
        "endpoint": endpoint,
        "account": account,
        "trust_dir": str(settings.data_dir / "trust"),
        "version": __version__,
    }
    content = json.dumps(ready, indent=2).encode() + b"\n"
    serve_json = settings.data_dir / "serve.json"
    write_atomically(serve_json, content)
    stack.callback(serve_json.unlink, missing_ok=True)
    print(start_screen(_serve_info(settings, ready, device, first_run=first_run)), flush=True)
    if settings.ready_file is not None:
        try:
            write_atomically(settings.ready_file, content)
        except OSError as error:
            raise ConfigurationError(
                f"--ready-file {settings.ready_file} cannot be written: {error.strerror}"
            ) from error
        stack.callback(settings.ready_file.unlink, missing_ok=True)


def _serve_info(
    settings: Settings, ready: Mapping[str, Any], device: tuple[str, bool], *, first_run: bool
) -> ServeInfo:
    return ServeInfo(
        version=__version__,
        api=ready["api"],
        mqtt_host=ready["mqtt"]["host"],
        mqtt_port=ready["mqtt"]["port"],
        https_host=ready["https"]["host"],
        https_port=ready["https"]["port"],
        alpn=ready["alpn"],
        endpoint=ready["endpoint"],
        endpoint_resolves=resolves(ready["endpoint"]),
        account=ready["account"],
        region=settings.region,
        data_dir=settings.data_dir,
        trust_dir=settings.data_dir / "trust",
        dev=settings.dev,
        first_run=first_run,
        device=device[0],
        device_made=device[1],
    )


def say(text: str) -> None:
    """A line of progress on standard error."""
    print(text, file=sys.stderr, flush=True)


def reveal_root_passphrase(passphrase: str) -> None:
    """Printed before the PKI is in place, so that no kill in between loses it; it is stored nowhere."""
    print(
        "The passphrase of the root keys, shown this once. Note it, then move pki/offline/ to a safe place:\n\n"
        f"  {passphrase}\n",
        flush=True,
    )
