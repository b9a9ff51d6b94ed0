"""Where a message goes: the subscriptions of one scope and the plans made from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handfast.core.identity.ids import Scope
from handfast.core.topics.filter import ParsedFilter, has_wildcard
from handfast.core.topics.trie import SubscriptionTrie

if TYPE_CHECKING:
    from handfast.gateway.connection import MQTTConnection
    from handfast.gateway.receiver import Receiver

# Subscription options as one integer, the layout of MQTT 5 §3.8.3.1.
QOS = 0x03
NO_LOCAL = 0x04
RETAIN_AS_PUBLISHED = 0x08


class SharedGroup:
    """The live members of one Shared Subscription, with the options that each asked for."""

    __slots__ = ("members",)

    def __init__(self) -> None:
        self.members: dict[Receiver, int] = {}


class Plan:
    """
    Everyone who gets what is published to one topic, with `iot:Receive` already decided.

    Never changed once built; `stale` is set when subscriptions or policies
    change, and whoever holds it asks for a new one. A connection stands in
    exactly one of `zero…`, `one…` (by granted QoS and version) and `special`
    (No Local, Retain As Published, `one_by_one`); `all…` is both.
    """

    __slots__ = ("all4", "all5", "groups", "odd", "one4", "one5", "special", "stale", "topic", "zero4", "zero5")

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.stale = False
        self.all4: list[Receiver] = []
        self.all5: list[Receiver] = []
        self.zero4: list[Receiver] = []
        self.zero5: list[Receiver] = []
        self.one4: list[Receiver] = []
        self.one5: list[Receiver] = []
        self.special: list[tuple[Receiver, int]] = []
        self.groups: list[list[tuple[Receiver, int]]] = []
        self.odd = False  # special or groups are not empty


class ScopeRouter:
    """Clients, subscriptions and plans of one (account, region); messages never leave it."""

    __slots__ = ("_groups", "_plans", "_plans_limit", "_trie", "clients", "scope")

    def __init__(self, scope: Scope, plans_limit: int) -> None:
        self.scope = scope
        self.clients: dict[str, MQTTConnection] = {}
        self._trie: SubscriptionTrie[Receiver | SharedGroup, int] = SubscriptionTrie()
        self._groups: dict[str, SharedGroup] = {}
        self._plans: dict[str, Plan] = {}
        self._plans_limit = plans_limit

    @property
    def empty(self) -> bool:
        """True when nothing would be lost by forgetting the scope."""
        return not self.clients and not len(self._trie)

    def group(self, parsed: ParsedFilter) -> SharedGroup | None:
        """The group of a shared filter, if it has members."""
        return self._groups.get(parsed.text)

    @property
    def group_count(self) -> int:
        """Shared Subscriptions with members."""
        return len(self._groups)

    def subscribe(self, connection: Receiver, parsed: ParsedFilter, options: int) -> None:
        """The connection gets what matches, from the next message on."""
        if parsed.share_name is None:
            self._trie.insert(parsed.plain, connection, options)
        else:
            group = self._groups.get(parsed.text)
            if group is None:
                group = self._groups[parsed.text] = SharedGroup()
                self._trie.insert(parsed.plain, group, 0)
            group.members[connection] = options
        self._changed(parsed.plain)

    def unsubscribe(self, connection: Receiver, parsed: ParsedFilter) -> None:
        """The connection gets it no more."""
        if parsed.share_name is None:
            self._trie.remove(parsed.plain, connection)
        else:
            group = self._groups.get(parsed.text)
            if group is None or group.members.pop(connection, None) is None:
                return
            if not group.members:
                del self._groups[parsed.text]
                self._trie.remove(parsed.plain, group)
        self._changed(parsed.plain)

    def _changed(self, plain: str) -> None:
        if has_wildcard(plain):
            self.forget_plans()
            return
        plan = self._plans.pop(plain, None)
        if plan is not None:
            plan.stale = True

    def forget_plans(self) -> None:
        """Every plan is made anew when it is next needed."""
        for plan in self._plans.values():
            plan.stale = True
        self._plans.clear()

    def plan(self, topic: str) -> Plan:
        """The plan for a legal Topic Name."""
        plan = self._plans.get(topic)
        if plan is None:
            if len(self._plans) >= self._plans_limit:
                self.forget_plans()
            plan = self._plans[topic] = self._build(topic)
        return plan

    def _build(self, topic: str) -> Plan:
        plan = Plan(topic)
        # Overlapping filters of one connection: one copy, at the highest QoS granted.
        found: dict[Receiver, int] = {}
        groups: list[SharedGroup] = []
        for key, options in self._trie.match(topic):
            if isinstance(key, SharedGroup):
                groups.append(key)
                continue
            before = found.get(key)
            found[key] = options if before is None else merge_options(before, options)
        for connection, options in found.items():
            if not connection.may_receive(topic):
                continue
            five = connection.version == 5
            if connection.one_by_one or (five and options & (NO_LOCAL | RETAIN_AS_PUBLISHED)):
                plan.special.append((connection, options))
            elif five:
                plan.all5.append(connection)
                (plan.one5 if options & QOS else plan.zero5).append(connection)
            else:
                plan.all4.append(connection)
                (plan.one4 if options & QOS else plan.zero4).append(connection)
        for group in groups:
            members = [(member, options) for member, options in group.members.items() if member.may_receive(topic)]
            if members:
                plan.groups.append(members)
        plan.odd = bool(plan.special or plan.groups)
        return plan


def merge_options(one: int, other: int) -> int:
    """What holds for a connection with two matching filters: most is delivered, least is held back."""
    qos = max(one & QOS, other & QOS)
    return qos | (one & other & NO_LOCAL) | ((one | other) & RETAIN_AS_PUBLISHED)
