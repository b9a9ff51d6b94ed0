"""`handfast version`."""

from __future__ import annotations

import platform

import handfast
from handfast.cli.options import AsJson
from handfast.cli.output import print_json


def version(as_json: AsJson = False) -> None:
    """Print the version."""
    if as_json:
        print_json({"version": handfast.__version__, "python": platform.python_version()})
    else:
        print(f"handfast {handfast.__version__}")
