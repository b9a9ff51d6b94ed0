"""
What a policy decision costs on one core: cached, not cached, compiled, and with the worst documents and topics.

    python -m benchmarks.policy [--rounds N] [--json FILE]

Each figure is the least of the rounds, in microseconds of process time; the
last column is its part of the target. Exit status 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from handfast.core.identity.ids import AccountId, CertificateId, Scope
from handfast.core.policy.actions import Action
from handfast.core.policy.document import parse_document
from handfast.core.policy.evaluate import Policy, compile_policies
from handfast.core.policy.reading import MAX_CHARACTERS
from handfast.core.policy.variables import CLIENT_ID, THING_NAME, Values
from handfast.seam import ListenerKind, TLSFacts
from handfast.services.authorization import MAX_DECISIONS, NO_DECISIONS, Decisions, PolicyAuthorizer
from handfast.services.decisions import DecisionLog
from handfast.telemetry.clock import SystemClock

ARN = "arn:aws:iot:us-east-1:123456789012:"
CACHED_US = 3.0
UNCACHED_US = 60.0
HOSTILE_US = 300.0
"""For a topic as long as AWS allows; longer ones in proportion."""
COMPILED_US = 1000.0
LONGEST_TOPIC = 256
"""AWS's limit for topics and filters; the engine takes longer ones too."""
VALUES: Values = {CLIENT_ID: ("device-0001",), THING_NAME: ("device-0001",)}


def _document(resource: Callable[[int], str], **members: Any) -> str:
    """A statement with as many resources as 2,048 characters hold."""
    resources: list[str] = []
    text = ""
    while True:
        resources.append(ARN + resource(len(resources)))
        statement = {"Effect": "Allow", "Action": "iot:Publish", "Resource": resources, **members}
        longer = json.dumps({"Version": "2012-10-17", "Statement": [statement]}, separators=(",", ":"))
        if len(longer) > MAX_CHARACTERS:
            return text
        text = longer


def _hostile(piece: str, times: int, end: str = "") -> str:
    """One resource of nothing but wildcards."""
    statement = {"Effect": "Allow", "Action": "iot:Publish", "Resource": f"{ARN}topic/{piece * times}{end}"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, separators=(",", ":"))


CONDITION = {"StringLike": {CLIENT_ID: ["device-*", "gateway-*"]}, "Null": {THING_NAME: "false"}}
DOCUMENTS: dict[str, str] = {
    "literal resources": _document(lambda n: f"topic/site/{n}/up"),
    "prefixes": _document(lambda n: f"topic/site/{n}/*"),
    "wildcards within": _document(lambda n: f"topic/*/{n}?/x"),
    "variables": _document(lambda n: f"topic/${{iot:Connection.Thing.ThingName}}/{n}/*"),
    "conditions": _document(lambda n: f"topic/site/{n}/*", Condition=CONDITION),
}
HOSTILE: dict[str, tuple[str, str]] = {
    "100 times *a, then *b, on aaa…": (_hostile("*a", 100, "*b*"), "a" * LONGEST_TOPIC),
    "60 times *a?a, then b, on aaa…b": (_hostile("*a?a", 60, "*?b?b*"), "a" * (LONGEST_TOPIC - 1) + "b"),
    "600 times *?a on 64 KB of a": (_hostile("*?a", 600), "a" * 65_000),
}


def _policy(text: str) -> Policy:
    return Policy("p", "1", parse_document(text))


def _us(operation: Callable[[], object], rounds: int, times: int) -> float:
    """The least process time of one call over the rounds."""
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        for _ in range(times):
            operation()
        best = min(best, (time.process_time() - started) / times)
    return best * 1e6


class _Principal:
    """A principal with one policy and no thing."""

    def __init__(self, policy: Policy) -> None:
        self._policies = [policy]

    def policies_for(self, client_id: str | None) -> list[Policy]:
        """The one policy."""
        return self._policies

    def thing_for(self, client_id: str | None) -> None:
        """None."""


def _authorizer(policy: Policy, decisions: Decisions = NO_DECISIONS) -> PolicyAuthorizer:
    """What a live connection asks."""
    certificate_id = CertificateId("0" * 64)
    facts = TLSFacts(
        listener=ListenerKind.MQTT,
        peer_address="127.0.0.1",
        peer_port=1,
        local_address="127.0.0.1",
        certificate_der=b"",
        certificate_id=certificate_id,
        sni=None,
        alpn=None,
        version="TLSv1.3",
        cipher="",
        group=None,
        chain_kind="ecdsa",
    )
    nobody: Any = None
    principal: Any = _Principal(policy)
    key = (Scope(AccountId("123456789012"), "us-east-1"), certificate_id)
    return PolicyAuthorizer(key, principal, facts, "device-0001", nobody, lambda _: (), decisions=decisions)


def measure(rounds: int) -> list[tuple[str, float, float]]:
    """(what, microseconds, target in microseconds)."""
    rows: list[tuple[str, float, float]] = []
    missed = ARN + "topic/building/7/y"
    everything = {"Effect": "Allow", "Action": "iot:Publish", "Resource": "*"}
    authorizer = _authorizer(_policy(json.dumps({"Version": "2012-10-17", "Statement": everything})))
    if not authorizer.publish("a"):
        raise SystemExit("the policy that allows everything denies: nothing would be measured")
    rows.append(
        ("cached, as a live connection asks", _us(functools.partial(authorizer.publish, "a"), rounds, 2000), CACHED_US)
    )
    archive: Any = None
    recorded = DecisionLog(archive, SystemClock())
    for name, decisions in (("not recorded", NO_DECISIONS), ("recorded", recorded)):
        asking = _authorizer(_policy(json.dumps({"Version": "2012-10-17", "Statement": everything})), decisions)
        asking.publish("a")
        again = functools.partial(asking.publish, "a")
        rows.append((f"cached, {name}", _us(again, rounds, 2000), CACHED_US))
        topics = itertools.cycle([f"site/{number}/up" for number in range(MAX_DECISIONS + 1)])
        distinct = functools.partial(_next, asking, topics)
        rows.append((f"always another topic, {name}", _us(distinct, rounds, 2000), UNCACHED_US))
    for name, text in DOCUMENTS.items():
        policy = _policy(text)
        compiled = compile_policies([policy], VALUES)
        compiled.decide(Action.PUBLISH, missed)
        decide = functools.partial(compiled.decide, Action.PUBLISH, missed)
        rows.append((f"{name}: not cached", _us(decide, rounds, 500), UNCACHED_US))
        first = functools.partial(_first, policy, missed)
        rows.append((f"{name}: a connection's first", _us(first, rounds, 50), COMPILED_US))
    for name, (text, topic) in HOSTILE.items():
        compiled = compile_policies([_policy(text)], {})
        target = HOSTILE_US * max(1, len(topic) / LONGEST_TOPIC)
        decide = functools.partial(compiled.decide, Action.PUBLISH, f"{ARN}topic/{topic}")
        rows.append((f"hostile: {name}", _us(decide, rounds, 5), target))
    return rows


def _next(authorizer: PolicyAuthorizer, topics: Iterator[str]) -> bool:
    return authorizer.publish(next(topics))


def _first(policy: Policy, resource: str) -> object:
    """A decision with the connection's variables and conditions settled before it."""
    return compile_policies([policy], VALUES).decide(Action.PUBLISH, resource)


def main() -> int:
    """Print the table; the exit status says whether every target is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    rows = measure(given.rounds)
    width = max(len(name) for name, _, _ in rows)
    for name, took, target in rows:
        print(f"{name:<{width}}  {took:10.2f} µs  of {target:8.0f} µs  {took / target:6.2f}")
    if given.json is not None:
        given.json.write_text(json.dumps([{"what": n, "us": t, "target_us": g} for n, t, g in rows], indent=2))
    return 0 if all(took <= target for _, took, target in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
