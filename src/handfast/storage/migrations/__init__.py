"""The registry's schema as Alembic revisions; `HEAD` is the one that this code reads and writes."""

HEAD = "0015"
