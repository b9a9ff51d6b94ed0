"""
Options that need no conversion are taken without loading what converts.

typer hands every option to pydantic, text and options that were not given too;
importing pydantic takes a third of the time of a short command.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any


def take_plain_values(command: Any) -> None:
    """The command, and each below it, asks typer's converter only for values that it could change or refuse."""
    for param in command.params:
        _take_plain(param)
    make_help_option = command.get_help_option

    def help_option(context: Any) -> Any:
        # typer makes `--help` when it parses, since its names come from the commands above.
        return _take_plain(make_help_option(context))

    command.get_help_option = help_option
    for below in getattr(command, "commands", {}).values():
        take_plain_values(below)


def _take_plain(param: Any) -> Any:
    # Where a later typer converts otherwise, this does nothing, and a test says so.
    kind = getattr(param, "type_descriptor", None)
    make = getattr(param, "get_runtime_param", None)
    if kind is not None and make is not None and kind.parameter_info.parser is None:
        param.get_runtime_param = partial(_Converter, make, kind.annotation)
    return param


class _Converter:
    """What typer asks for a parameter's value, in place of its own converter, which is made when it is needed."""

    def __init__(self, make: Callable[[], Any], annotation: Any) -> None:
        self._make = make
        self._annotation = annotation

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        wanted = self._annotation
        if param.multiple or param.nargs == -1:
            if value is None:
                return ()
            if wanted == list[str] and isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
                return list(value)
        elif value is None or (wanted in (str, bool) and type(value) is wanted):
            return value
        return self._make().coerce(value, param=param, ctx=ctx)
