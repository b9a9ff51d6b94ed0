"""The schema brought to this version's, at open; a newer one is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def revisions() -> list[str]:
    """Every revision that this version knows, the first one first."""
    from alembic.script import ScriptDirectory

    return [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()][::-1]


def upgrade(
    connection: Connection, where: str, *, before: Callable[[str], None] = lambda _: None, to: str = HEAD
) -> None:
    """
    Bring the schema to `to`.

    Runs inside the caller's transaction: killed half-way, the database is as it
    was before. `where` names the database for the message. `before` is called
    with the revision found, when there is one and it is an older one; what it
    raises leaves everything as it is.

    Raises:
        ConfigurationError: The schema is one that this version does not know,
            which only a newer handfast can have made.
    """
    revision = current_revision(connection)
    if revision == to:
        return
    # Imported here: an up-to-date database, which is nearly every start, need not pay for Alembic.
    from alembic import command

    if revision is not None:
        if revision not in revisions():
            raise ConfigurationError(
                f"{where} was made by a newer handfast (schema {revision}, this version knows up to {HEAD}): "
                "run that version, or give another --data-dir"
            )
        before(revision)
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, to)
    if revision is not None and connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(5)
        if broken:
            tables = ", ".join(sorted({str(row[0]) for row in broken}))
            raise ConfigurationError(
                f"{where} cannot be migrated from schema {revision} to {to}: rows of {tables} refer to what is not "
                "there. It is as it was; run the version that made it, and report this"
            )


def _config() -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_DIRECTORY).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
