"""The schema brought to this version's, at open; a newer one is refused."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect

from handfast.errors import ConfigurationError
from handfast.storage.migrations import HEAD

_DIRECTORY = Path(__file__).parent / "migrations"


def current_revision(connection: Connection) -> str | None:
    """The revision of the schema, or None for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()
    return None if row is None else str(row[0])


def upgrade(connection: Connection, where: str) -> None:
    """
    Bring the schema to `HEAD`.

    Runs inside the caller's transaction: killed half-way, the database is as it
    was before. `where` names the database for the message.

    Raises:
        ConfigurationError: The schema is one that this version does not know,
            which only a newer handfast can have made.
    """
    revision = current_revision(connection)
    if revision == HEAD:
        return
    # Imported here: an up-to-date database, which is nearly every start, need not pay for Alembic.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_DIRECTORY).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    if revision is not None:
        try:
            ScriptDirectory.from_config(config).get_revision(revision)
        except CommandError:
            raise ConfigurationError(
                f"{where} was made by a newer handfast (schema {revision}, this version knows up to {HEAD}): "
                "run that version, or give another --data-dir"
            ) from None
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)
