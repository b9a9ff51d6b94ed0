"""The validated settings of one process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from handfast.config.hosts import is_loopback


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    The validated settings of one process. Paths are absolute; names are lower case.

    The meaning, unit and default of each field stand in `table.SETTINGS`.
    """

    data_dir: Path
    host: str
    api_port: int
    mqtt_port: int
    https_port: int
    alpn_port: int | None
    proxy_protocol: tuple[str, ...]
    region: str
    domain: str
    server_names: tuple[str, ...]
    prefer_chain: Literal["rsa", "ecdsa"]
    prefer_chain_for: tuple[str, ...]
    tls_policy: str
    serve_cross: bool
    public_url: str | None
    ocsp_allow: tuple[str, ...]
    legacy_endpoint: bool
    refusals: Literal["explain", "aws"]
    sni: Literal["lenient", "aws"]
    quotas: Literal["off", "aws"]
    jitp: Literal["first-connection", "aws"]
    jit_rate: int
    jit_waiting: int
    decisions: Literal["on", "off"]
    template_lint: Literal["warn", "refuse"]
    database_url: str | None
    ready_file: Path | None
    api_plaintext: bool
    dev: bool
    log_format: Literal["text", "json"] | None
    log_level: Literal["debug", "info", "warning", "error"]
    key_passphrase_file: Path | None
    root_passphrase_file: Path | None
    metrics_token_file: Path | None
    file: Path | None
    """The handfast.toml that was read; its tables (`FILE_TABLES`) are read by `file_tables`."""

    @property
    def is_loopback(self) -> bool:
        """True when nothing outside this machine can reach the listeners."""
        return is_loopback(self.host)

    @property
    def api_tls(self) -> bool:
        """Whether the API port speaks TLS: everywhere but on loopback, unless plain HTTP was allowed."""
        return not self.is_loopback and not self.api_plaintext
