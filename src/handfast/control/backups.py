"""CreateBackup (/handfast/v1): the data directory as one archive below it."""

from __future__ import annotations

from typing import Protocol

from handfast.control.context import Handler, Result, require_operator
from handfast.core.identity.caller import Caller
from handfast.services.backup import Backup


class BackupMaker(Protocol):
    """Makes backups of the data directory that the server runs on."""

    async def create(self) -> Backup:
        """An archive that is on the disk. LimitExceededError: one is being made already, or there is no room."""
        ...


class BackupHandlers:
    """Handlers by operation name in `handlers`. Each refuses an account's key."""

    def __init__(self, backups: BackupMaker) -> None:
        self._backups = backups
        self.handlers: dict[str, Handler] = {"CreateBackup": self.create_backup}

    async def create_backup(self, ctx: Caller) -> Result:
        require_operator(ctx)
        made = await self._backups.create()
        return {
            "path": str(made.path),
            "size": made.size,
            "sha256": made.sha256,
            "created_at": made.manifest.created,
            "version": made.manifest.version,
            "schema_revision": made.manifest.schema,
            "members": [member._asdict() for member in made.manifest.members],
            "left_out": list(made.manifest.left_out),
            "warnings": made.warnings,
        }
