"""Who subscribed to what: the filters of one scope, and the ones that match a topic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from handfast.core.topics.filter import has_wildcard

K = TypeVar("K")
V = TypeVar("V")


class _Node(Generic[K, V]):
    __slots__ = ("below", "children", "here")

    def __init__(self) -> None:
        self.children: dict[str, _Node[K, V]] | None = None
        self.here: dict[K, V] | None = None  # filters that end at this level
        self.below: dict[K, V] | None = None  # filters that end in /# after this level


class SubscriptionTrie(Generic[K, V]):
    """
    Filters with their subscribers.

    A filter without wildcards lies in one dictionary, so that the usual
    subscription costs one entry and one lookup; the others form a trie by level.
    Filters must be legal (`parse_filter`), which bounds the depth at 11 levels
    and the nodes visited by one match at 2^11; empty branches are cut at once.
    """

    __slots__ = ("_exact", "_root", "_size")

    def __init__(self) -> None:
        self._exact: dict[str, dict[K, V]] = {}
        self._root: _Node[K, V] = _Node()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def insert(self, plain: str, key: K, value: V) -> bool:
        """`key` is subscribed to `plain` with `value`, in place of an older value; True when it is new."""
        if not has_wildcard(plain):
            entry = self._exact.get(plain)
            if entry is None:
                entry = self._exact[plain] = {}
        else:
            levels = plain.split("/")
            deep = levels[-1] == "#"
            node = self._root
            for level in levels[:-1] if deep else levels:
                if node.children is None:
                    node.children = {}
                child = node.children.get(level)
                if child is None:
                    child = node.children[level] = _Node()
                node = child
            if deep:
                if node.below is None:
                    node.below = {}
                entry = node.below
            else:
                if node.here is None:
                    node.here = {}
                entry = node.here
        new = key not in entry
        entry[key] = value
        self._size += new
        return new

    def remove(self, plain: str, key: K) -> bool:
        """`key` is no longer subscribed to `plain`; False when it was not."""
        if not has_wildcard(plain):
            entry = self._exact.get(plain)
            if entry is None or key not in entry:
                return False
            del entry[key]
            if not entry:
                del self._exact[plain]
            self._size -= 1
            return True
        levels = plain.split("/")
        deep = levels[-1] == "#"
        path: list[tuple[_Node[K, V], str]] = []
        node = self._root
        for level in levels[:-1] if deep else levels:
            child = node.children.get(level) if node.children is not None else None
            if child is None:
                return False
            path.append((node, level))
            node = child
        found = node.below if deep else node.here
        if found is None or key not in found:
            return False
        del found[key]
        self._size -= 1
        if not found:
            if deep:
                node.below = None
            else:
                node.here = None
        while path and node.children is None and node.here is None and node.below is None:
            node, level = path.pop()
            if node.children is not None:
                del node.children[level]
                if not node.children:
                    node.children = None
        return True

    def subscribers(self, plain: str) -> dict[K, V]:
        """Who subscribed to exactly this filter, which has no wildcards; not to be changed."""
        return self._exact.get(plain) or {}

    def match(self, topic: str) -> Iterator[tuple[K, V]]:
        """
        Every (key, value) whose filter matches the legal Topic Name; a key comes once for each of its filters.

        `a/#` does not match `a`, as on AWS IoT; wildcards in the first level do not match `$…` [MQTT-4.7.2-1].
        """
        entry = self._exact.get(topic)
        if entry is not None:
            yield from entry.items()
        if self._root.children is None and self._root.below is None:
            return
        levels = topic.split("/")
        end = len(levels)
        dollar = topic.startswith("$")
        stack: list[tuple[_Node[K, V], int]] = [(self._root, 0)]
        while stack:
            node, depth = stack.pop()
            if depth == end:
                if node.here is not None:
                    yield from node.here.items()
                continue
            wild = depth > 0 or not dollar
            if node.below is not None and wild:
                yield from node.below.items()
            children = node.children
            if children is not None:
                child = children.get(levels[depth])
                if child is not None:
                    stack.append((child, depth + 1))
                if wild:
                    child = children.get("+")
                    if child is not None:
                        stack.append((child, depth + 1))
