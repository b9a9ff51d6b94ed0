"""The server's own roots: what is kept of their changes in the registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from handfast.ports.values import Cause, Change


class RootAuditStore(Protocol):
    """Part of `ports.Store`; what holds for all of its methods stands there."""

    async def note_roots(self, subject: str, after: Mapping[str, Any], cause: Cause) -> list[Change]:
        """The audit says that the roots are being changed. The change itself is in files, and follows."""
        ...
