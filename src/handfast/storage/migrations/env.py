"""Runs the revisions over the connection that `handfast.storage.migrate` hands in; there is no other way in."""

from alembic import context

from handfast.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
)
context.run_migrations()
