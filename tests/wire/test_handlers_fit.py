"""Every handler that `serve` mounts takes what its operation can bring."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from tests.support.keys import ACCOUNT, EVERYONE, OPERATOR

from handfast.control.handlers import build_handfast_handlers, build_handlers
from handfast.data.handlers import DataHandlers
from handfast.wire.spec import Operation, load_service


class _Unbound:
    """Stands for services where only the handlers are looked at."""

    def __getattr__(self, name: str) -> Any:
        return self


NOTHING: Any = _Unbound()
MOUNTED = {
    "iot": build_handlers(*[NOTHING] * 6),
    "iot-data": DataHandlers(NOTHING).handlers(),
    "handfast": build_handfast_handlers(*[NOTHING] * 15),
}


@pytest.mark.parametrize(
    ("operation", "handler"),
    [
        pytest.param(load_service(service).operations[name], handler, id=f"{service}:{name}")  # type: ignore[arg-type]
        for service, handlers in MOUNTED.items()
        for name, handler in handlers.items()
    ],
)
def test_a_handler_takes_every_member_of_its_operation(operation: Operation, handler: Any) -> None:
    parameters = inspect.signature(handler).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return
    taken = {name for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    given = {member.snake for member in operation.input.members.values()}
    required = {operation.input.members[name].snake for name in operation.input.required}
    demanded = {name for name in taken if parameters[name].default is inspect.Parameter.empty}
    assert set() == given - taken, "members that the handler would fail on"
    assert set() == demanded - required, "members that the handler demands but a request may leave out"
    assert set() == taken - given, "parameters that no request can bring"


def test_every_operation_of_ours_says_whose_key_it_needs() -> None:
    said = sorted([*OPERATOR, *ACCOUNT, *EVERYONE])
    assert sorted(MOUNTED["handfast"]) == said, "tests/support/keys.py has each operation of /handfast/v1 once"
