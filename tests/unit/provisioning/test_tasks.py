"""The lines of a bulk registration task's input."""

from __future__ import annotations

import pytest

from handfast.core.provisioning.plan import FailureKind, ProvisioningFailed
from handfast.core.provisioning.tasks import LINE_MAX_BYTES, InputLine, LineSplitter, read_parameters

FULL = b"x" * LINE_MAX_BYTES


def split(data: bytes, block: int, offset: int = 0) -> list[InputLine]:
    splitter = LineSplitter(offset)
    found = [line for start in range(0, len(data), block) for line in splitter.feed(data[start : start + block])]
    return found + list(splitter.finish())


@pytest.mark.parametrize("block", [1, 2, 3, 5, 99])
def test_lines_are_the_same_however_they_arrive(block: int) -> None:
    assert [InputLine(b"one", 4), InputLine(b"", 5), InputLine(b"two", 9)] == split(b"one\n\ntwo\n", block)
    assert [InputLine(b"one", 104), InputLine(b"two\r", 108)] == split(b"one\ntwo\r", block, 100)
    assert [] == split(b"", block)


@pytest.mark.parametrize("block", [1000, 10**9])
def test_a_line_that_is_too_long_is_told_and_not_kept(block: int) -> None:
    data = FULL + b"\n" + FULL + b"x\nlast\n" + FULL + b"y"
    found = split(data, block)
    assert [True, False, True, False] == [line.content is not None for line in found]
    assert [len(FULL) + 1, 2 * len(FULL) + 3, 2 * len(FULL) + 8, len(data)] == [line.end for line in found]


def test_a_line_maps_parameters_to_texts() -> None:
    assert {"ThingName": "lamp", "Grüße": ""} == read_parameters('{"ThingName":"lamp","Grüße":""}\r'.encode())


@pytest.mark.parametrize(
    "line",
    [
        None,
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"\xff",
        b'{"a":1}',
        b'{"a":null}',
        b'{"a":{"b":"c"}}',
        b'{"a":"b","a":"c"}',
        b'{"a":"\\ud800"}',
        b"[" * LINE_MAX_BYTES,
    ],
)
def test_any_other_line_is_told_what_is_wrong(line: bytes | None) -> None:
    with pytest.raises(ProvisioningFailed) as caught:
        read_parameters(line)
    assert FailureKind.INVALID is caught.value.kind
