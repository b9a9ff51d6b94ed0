"""`handfast serve`."""

from __future__ import annotations

import typer

from handfast.cli.options import with_settings
from handfast.config.settings import Settings


@with_settings
def serve(settings: Settings, origins: dict[str, str]) -> None:
    """
    Run the identity plane in the foreground until SIGTERM or Ctrl-C.

    Every flag has an environment variable (HANDFAST_DATA_DIR for --data-dir) and a key in handfast.toml; a flag
    beats the environment, the environment beats the file. 'handfast config show' prints each value and its origin.
    """
    from handfast.app import serve as run

    raise typer.Exit(run(settings, origins))
