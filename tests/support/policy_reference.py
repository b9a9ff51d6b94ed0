"""The policy language as slowly and plainly as it can be written: the oracle of the property tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

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


def pattern_of(resource: str, variables: Mapping[str, str], *, denying: bool) -> list[object] | None:
    """A resource with variables put in; None when one has no usable value."""
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
        pattern.append({"*": RUN, "?": ONE}.get(character, character))
        position += 1
    return pattern


def decide(statements: Sequence[tuple[str, str, str]], variables: Mapping[str, str], action: str, resource: str) -> str:
    """Statements are (effect, action, resource) with exact actions."""
    effects = set()
    for effect, named, wanted in statements:
        pattern = pattern_of(wanted, variables, denying=effect == "Deny")
        if named == action and pattern is not None and matches(tuple(pattern), resource):
            effects.add(effect)
    if "Deny" in effects:
        return "EXPLICIT_DENY"
    return "ALLOWED" if "Allow" in effects else "IMPLICIT_DENY"
