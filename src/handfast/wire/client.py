"""
botocore clients for a running handfast: our own API from its model file, and `iot`, `iot-data` as they are.

Only what is passed in counts: the user's AWS profile, region and configuration
files play no part, so that a command cannot reach another server by accident.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.exceptions import UnknownServiceError
from botocore.loaders import Loader
from botocore.session import Session

from handfast.wire.spec import API_VERSION, raw_model

CONNECT_TIMEOUT_S: Final = 10
READ_TIMEOUT_S: Final = 60
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class _Loader(Loader):  # type: ignore[misc] # botocore is untyped
    """botocore's bundled data, and the `handfast` model."""

    def __init__(self) -> None:
        super().__init__(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)

    def load_service_model(self, service_name: str, type_name: str, api_version: str | None = None) -> Any:
        if service_name in API_VERSION:
            # By its path, as botocore lists all of its services first to say which there are.
            return self.load_data(f"{service_name}/{API_VERSION[service_name]}/{type_name}")
        if service_name != "handfast":
            return super().load_service_model(service_name, type_name, api_version)
        if type_name != "service-2":
            # No endpoint rules, paginators or waiters; botocore goes on without them.
            raise UnknownServiceError(service_name=service_name, known_service_names=["handfast"])
        return raw_model("handfast")


@cache
def _loader() -> _Loader:
    """One for all clients of the process: it keeps what it has read."""
    return _Loader()


def _client(
    service: str,
    endpoint_url: str,
    region: str,
    access_key_id: str,
    secret: str,
    ca_bundle: str | None,
    *,
    total_max_attempts: int = 3,
    read_timeout_s: float = READ_TIMEOUT_S,
) -> Any:
    session = Session(
        session_vars={
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
    )
    session.register_component("data_loader", _loader())
    host = urlsplit(endpoint_url).hostname or ""
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=read_timeout_s,
        retries={"mode": "standard", "total_max_attempts": total_max_attempts},
        # A proxy of the environment cannot reach this machine's loopback.
        proxies={} if host in _LOOPBACK else None,
    )
    return session.create_client(
        service,
        region_name=region,
        endpoint_url=endpoint_url,
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret,
        verify=ca_bundle if ca_bundle is not None else True,
        config=config,
    )


def handfast_client(
    endpoint_url: str,
    region: str,
    access_key_id: str,
    secret: str,
    ca_bundle: str | None = None,
    *,
    patience_s: float | None = None,
) -> Any:
    """
    A client for `/handfast/v1`: `create_account`, `explain` … `ca_bundle` is a path to a PEM file.

    With `patience_s` an answer may take so long, and nothing is asked twice.
    """
    if patience_s is None:
        return _client("handfast", endpoint_url, region, access_key_id, secret, ca_bundle)
    return _client(
        "handfast",
        endpoint_url,
        region,
        access_key_id,
        secret,
        ca_bundle,
        total_max_attempts=1,
        read_timeout_s=patience_s,
    )


def iot_client(endpoint_url: str, region: str, access_key_id: str, secret: str, ca_bundle: str | None = None) -> Any:
    """A client for the control plane: `create_thing`, `create_keys_and_certificate` …"""
    return _client("iot", endpoint_url, region, access_key_id, secret, ca_bundle)


def iot_data_client(
    endpoint_url: str, region: str, access_key_id: str, secret: str, ca_bundle: str | None = None
) -> Any:
    """A client for the signed data plane: `publish`."""
    return _client("iot-data", endpoint_url, region, access_key_id, secret, ca_bundle)
