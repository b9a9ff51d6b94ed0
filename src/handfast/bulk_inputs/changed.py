"""An input that is not the one a task began with."""

from __future__ import annotations

from handfast.errors import InputUnavailable


def changed() -> InputUnavailable:
    """The answer where a task goes on and its input is another one."""
    return InputUnavailable("The input was changed while the task was under way; start another task for the rest")
