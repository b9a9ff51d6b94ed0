"""The policy language as slowly and plainly as it can be written: the oracle of the property tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

RUN, ONE = object(), object()
Pattern = Sequence[object]


def matches(pattern: Pattern, text: str) -> bool:
    """Every way that a `*` can be taken is tried (with a memory, or it would never end)."""

    @cache
    def rest(p: int, t: int) -> bool:
        if p == len(pattern):
            return t == len(text)
        if pattern[p] is RUN:
            return rest(p + 1, t) or (t < len(text) and rest(p, t + 1))
        return t < len(text) and (pattern[p] is ONE or pattern[p] == text[t]) and rest(p + 1, t + 1)

    return rest(0, 0)


def pattern_of(
    resource: str, variables: Mapping[str, str], *, denying: bool, wildcards: bool = True
) -> list[object] | None:
    """A text with variables put in; None when one has no usable value."""
    pattern: list[object] = []
    position = 0
    while position < len(resource):
        character = resource[position]
        if resource.startswith("${", position):
            end = resource.index("}", position)
            name = resource[position + 2 : end]
            if name in ("*", "?", "$"):
                pattern.append(name)
            elif name not in variables or (not denying and set(variables[name]) & set("*$+?#")):
                return None
            else:
                pattern.extend(variables[name])
            position = end + 1
            continue
        pattern.append({"*": RUN, "?": ONE}.get(character, character) if wildcards else character)
        position += 1
    return pattern


def decide(
    statements: Sequence[Mapping[str, Any]], variables: Mapping[str, Sequence[str]], action: str, resource: str
) -> str:
    """Statements as in a document, with exact actions in lists, and Resource or NotResource lists."""
    effects = {each["Effect"] for each in statements if _matches(each, variables, action, resource)}
    if "Deny" in effects:
        return "EXPLICIT_DENY"
    return "ALLOWED" if "Allow" in effects else "IMPLICIT_DENY"


def _matches(statement: Mapping[str, Any], variables: Mapping[str, Sequence[str]], action: str, resource: str) -> bool:
    if ("Action" in statement) != (action in statement.get("Action", statement.get("NotAction"))):
        return False
    denying = statement["Effect"] == "Deny"
    firsts = {name: values[0] for name, values in variables.items() if values}
    patterns = [
        pattern_of(text, firsts, denying=denying) for text in statement.get("Resource", statement.get("NotResource"))
    ]
    hit = any(pattern is not None and matches(tuple(pattern), resource) for pattern in patterns)
    if "NotResource" in statement:
        if hit or (not denying and None in patterns):
            return False
    elif not hit:
        return False
    return all(
        _holds(operator, variables.get(key, ()), values, firsts, denying=denying)
        for operator, block in statement.get("Condition", {}).items()
        for key, values in block.items()
    )


def _holds(
    operator: str, actual: Sequence[str], wanted: Sequence[str], firsts: Mapping[str, str], *, denying: bool
) -> bool:
    if operator == "Null":
        return any((value == "true") == (not actual) for value in wanted)
    quantifier, _, base = operator.rpartition(":")
    if_exists = base.endswith("IfExists")
    base = base.removesuffix("IfExists")
    negated = "Not" in base
    patterns = [pattern_of(value, firsts, denying=denying, wildcards="Like" in base) for value in wanted]
    unknown = negated and not denying and None in patterns
    if not actual:
        if quantifier == "ForAllValues" or if_exists:
            return True
        return negated and not quantifier and not unknown
    if unknown:
        return False
    answers = [
        any(pattern is not None and matches(tuple(pattern), value) for pattern in patterns) is not negated
        for value in actual
    ]
    every = quantifier == "ForAllValues" or (not quantifier and not denying)
    return all(answers) if every else any(answers)
