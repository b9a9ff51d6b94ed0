"""The subscription trie finds what a plain comparison finds, and forgets what is removed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from handfast.core.topics.filter import filter_matches, parse_filter
from handfast.core.topics.name import name_problem
from handfast.core.topics.trie import SubscriptionTrie

LEVELS = st.sampled_from(["", "a", "b", "cc", "$aws", "$"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=6).map("/".join).filter(lambda t: name_problem(t) is None)
FILTERS = (
    st.lists(st.one_of(LEVELS, st.sampled_from(["+", "#"])), min_size=1, max_size=6)
    .map("/".join)
    .filter(lambda f: not isinstance(parse_filter(f), str))
)


def test_each_matching_filter_brings_its_subscriber_once() -> None:
    trie: SubscriptionTrie[str, int] = SubscriptionTrie()
    for key, plain in enumerate(["a/b", "a/+", "a/#", "#", "+/b", "a/b/#", "x"]):
        assert True is trie.insert(plain, plain, key)
    assert ["#", "+/b", "a/#", "a/+", "a/b"] == sorted(key for key, _ in trie.match("a/b"))
    assert ["#"] == [key for key, _ in trie.match("q")]
    assert ["#", "a/#"] == sorted(key for key, _ in trie.match("a/q/r"))


def test_a_second_insert_replaces_the_value() -> None:
    trie: SubscriptionTrie[str, int] = SubscriptionTrie()
    assert True is trie.insert("a/+", "me", 0)
    assert False is trie.insert("a/+", "me", 1)
    assert [("me", 1)] == list(trie.match("a/b"))
    assert 1 == len(trie)


def test_removing_what_is_not_there_changes_nothing() -> None:
    trie: SubscriptionTrie[str, int] = SubscriptionTrie()
    trie.insert("a/+/c", "me", 0)
    for plain in ("a/+", "a/+/c/#", "a/b/c", "#", "x/+"):
        assert False is trie.remove(plain, "me")
    assert False is trie.remove("a/+/c", "you")
    assert 1 == len(trie)


def test_no_branch_is_left_behind() -> None:
    trie: SubscriptionTrie[str, int] = SubscriptionTrie()
    filters = ["a/+/c", "a/+/#", "a/+", "#", "+/b/c/d", "exact/one"]
    for plain in filters:
        trie.insert(plain, "me", 0)
    for plain in filters:
        assert True is trie.remove(plain, "me")
    assert 0 == len(trie)
    assert None is trie._root.children
    assert None is trie._root.below
    assert {} == trie._exact


@given(st.lists(FILTERS, max_size=12), st.lists(TOPICS, min_size=1, max_size=8), st.data())
def test_the_trie_agrees_with_the_plain_comparison(filters: list[str], topics: list[str], data: st.DataObject) -> None:
    trie: SubscriptionTrie[int, str] = SubscriptionTrie()
    present = dict(enumerate(filters))
    for key, plain in present.items():
        trie.insert(plain, key, plain)
    for key in data.draw(st.sets(st.sampled_from(sorted(present)))) if present else ():
        assert True is trie.remove(present.pop(key), key)
    assert len(present) == len(trie)
    for topic in topics:
        expected = sorted(key for key, plain in present.items() if filter_matches(plain, topic))
        assert expected == sorted(key for key, _ in trie.match(topic))
