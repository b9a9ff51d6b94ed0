"""Wildcards match what the table says, agree with a naive matcher, and cannot be made slow."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import policy_reference as reference

from handfast.core.policy.document import parse_document
from handfast.core.policy.match import ANY_ONE, ANY_RUN, Glob, Token

HERE = Path(__file__).parent
VECTORS = json.loads((HERE.parents[1] / "vectors/policy/wildcards.json").read_text())


def glob_of(resource: str) -> Glob:
    text = json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": resource}})
    parts = parse_document(text).statements[0].resources[0].parts
    return Glob(part for part in parts if isinstance(part, str) or part in (ANY_RUN, ANY_ONE))


def tokens_of(pattern: str) -> list[Token]:
    return [ANY_RUN if c == "*" else ANY_ONE if c == "?" else c for c in pattern]


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["pattern"])
def test_the_table_of_wildcards(case: dict[str, Any]) -> None:
    glob = glob_of(case["pattern"])
    for text in case["matches"]:
        assert glob.matches(text), text
    for text in case["refuses"]:
        assert not glob.matches(text), text


@given(st.text("ab*?", max_size=12), st.text("ab", max_size=14))
@settings(max_examples=700, deadline=None)
def test_it_agrees_with_a_naive_matcher(pattern: str, text: str) -> None:
    naive = [reference.RUN if c == "*" else reference.ONE if c == "?" else c for c in pattern]
    glob = Glob(tokens_of(pattern))
    assert reference.matches(tuple(naive), text) == glob.matches(text)
    if glob.matches(text):
        assert text.startswith(glob.head)
        assert text.endswith(glob.tail)


@pytest.mark.parametrize(
    "pattern",
    [
        "*a" * 1000 + "b",
        "*a?" * 680 + "b",
        "*" + "a?" * 1000 + "b*",
        "*" * 2000 + "b",
        "?" * 1000 + "*" * 1000 + "b",
        "*" + "?" * 2000 + "b*",
        "*" + "a" * 1000 + "b" + "a" * 1000 + "*",
    ],
    ids=["a-runs", "a?-runs", "one-long-?-segment", "only-runs", "ones-then-runs", "only-ones", "almost-everywhere"],
)
@pytest.mark.parametrize("size", [256, 65_535])
def test_a_hostile_pattern_of_2048_characters_stays_quick(pattern: str, size: int) -> None:
    """Backtracking would need longer than the universe has existed; 65,535 is the longest text MQTT can carry."""
    glob = Glob(tokens_of(pattern))
    text = "a" * size
    started = time.process_time()
    assert not glob.matches(text)
    assert time.process_time() - started < (0.05 if size == 256 else 3.0)


def test_time_grows_with_the_text_and_not_faster() -> None:
    glob = Glob(tokens_of("*" + "a?" * 200 + "b*"))

    def cost(size: int) -> float:
        text = "a" * size
        best = float("inf")
        for _ in range(5):
            started = time.process_time()
            glob.matches(text)
            best = min(best, time.process_time() - started)
        return best

    small, large = cost(4_000), cost(32_000)
    assert large < 8 * small * 3
