"""
What a connection may do under its policies, and which statement said so.

Any matching Deny wins; else any matching Allow; else nothing allows it. The
order of policies and statements never matters.

A `Policy` keeps what does not depend on the connection, once for everyone who
shares it, split by action: literal resources in a dictionary, prefixes, then
the rest. A `CompiledPolicy` adds what depends on one connection, when an action
is first asked for: variables are put in, and conditions, which never ask about
the resource, are settled.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from handfast.core.policy.actions import Action
from handfast.core.policy.document import Document, Effect, Statement
from handfast.core.policy.match import ANY_RUN, Glob
from handfast.core.policy.variables import Values


class Outcome(StrEnum):
    """TestAuthorization `authDecision`."""

    ALLOWED = "ALLOWED"
    EXPLICIT_DENY = "EXPLICIT_DENY"
    IMPLICIT_DENY = "IMPLICIT_DENY"


class StatementRef(NamedTuple):
    """
    A statement of a policy version.

    `number` counts from 0; None when the document could not be read, which
    denies everything.
    """

    policy: str
    version: str
    number: int | None
    sid: str | None

    def __str__(self) -> str:
        if self.number is None:
            return f"policy {self.policy} version {self.version} (unreadable document)"
        sid = f" ({self.sid})" if self.sid else ""
        return f"policy {self.policy} version {self.version} statement {self.number}{sid}"


class Decision(NamedTuple):
    """The outcome, and every statement that brought it about (none for IMPLICIT_DENY)."""

    outcome: Outcome
    statements: tuple[StatementRef, ...]

    @property
    def allowed(self) -> bool:
        """True only for ALLOWED."""
        return self.outcome is Outcome.ALLOWED


_IMPLICIT_DENY = Decision(Outcome.IMPLICIT_DENY, ())


class _Table:
    """Resource patterns of one effect and one action, with the statements that they belong to."""

    __slots__ = ("excluding", "globs", "literals", "prefix_owners", "prefixes")

    def __init__(self) -> None:
        self.literals: dict[str, tuple[StatementRef, ...]] = {}
        self.prefixes: tuple[str, ...] = ()
        self.prefix_owners: list[StatementRef] = []
        self.globs: list[tuple[Glob, StatementRef]] = []
        self.excluding: list[tuple[tuple[Glob, ...], StatementRef]] = []

    def add(self, statement: Statement, fixed: Sequence[Glob | None], values: Values, owner: StatementRef) -> None:
        """
        What `statement` says about resources on a connection with these values; `fixed` is `_fixed(statement)`.

        A pattern whose variable has no value matches nothing; under NotResource
        it therefore excludes nothing from a Deny, and its Allow says nothing at
        all, since what it was meant to exclude is not known.
        """
        denying = statement.effect is Effect.DENY
        globs: list[Glob] = []
        for resource, glob in zip(statement.resources, fixed, strict=True):
            if glob is not None:
                globs.append(glob)
                continue
            tokens = resource.tokens(values, denying=denying)
            if tokens is not None:
                globs.append(Glob(tokens))
            elif statement.not_resource and not denying:
                return
        if statement.not_resource:
            self.excluding.append((tuple(globs), owner))
            return
        for glob in globs:
            self.add_glob(glob, owner)

    def add_glob(self, glob: Glob, owner: StatementRef) -> None:
        """The statement matches what `glob` matches."""
        if glob.literal is not None:
            self.literals[glob.literal] = (*self.literals.get(glob.literal, ()), owner)
        elif glob.prefix is not None:
            self.prefixes = (*self.prefixes, glob.prefix)
            self.prefix_owners.append(owner)
        else:
            self.globs.append((glob, owner))

    def collect(self, resource: str, found: list[StatementRef]) -> None:
        """The owners of what matches `resource` are appended to `found`."""
        owners = self.literals.get(resource)
        if owners is not None:
            found.extend(owners)
        # One call tells for all prefixes; which ones, only when one does.
        if self.prefixes and resource.startswith(self.prefixes):
            found.extend(
                owner
                for prefix, owner in zip(self.prefixes, self.prefix_owners, strict=True)
                if resource.startswith(prefix)
            )
        for glob, owner in self.globs:
            if resource.startswith(glob.head) and resource.endswith(glob.tail) and glob.matches(resource):
                found.append(owner)
        for globs, owner in self.excluding:
            if not any(glob.matches(resource) for glob in globs):
                found.append(owner)


class _Rules(NamedTuple):
    """What one policy says about one action; `depending` on the connection, by variables or conditions."""

    deny: _Table | None
    allow: _Table | None
    depending: tuple[tuple[Statement, tuple[Glob | None, ...], StatementRef], ...]


def _fixed(statement: Statement) -> tuple[Glob | None, ...]:
    """The patterns of its resources that are the same on every connection; None for those with variables."""
    return tuple(
        None if resource.variables else Glob(resource.tokens({}, denying=False) or ())
        for resource in statement.resources
    )


class Policy:
    """
    A named version of a document, ready to be shared by every connection.

    `document` None stands for a stored document that cannot be read: it denies
    everything, since what it denied is not known.
    """

    __slots__ = ("__weakref__", "_rules", "document", "name", "names", "version_id")

    def __init__(self, name: str, version_id: str, document: Document | None) -> None:
        self.name = name
        self.version_id = version_id
        self.document = document
        self.names: frozenset[str] = document.names if document is not None else frozenset()
        self._rules: dict[Action, _Rules | None] = {}

    def rules(self, action: Action) -> _Rules | None:
        """What the policy says about `action`; None: nothing."""
        try:
            return self._rules[action]
        except KeyError:
            rules = self._rules[action] = self._compile(action)
            return rules

    def _compile(self, action: Action) -> _Rules | None:
        if self.document is None:
            everything = _Table()
            everything.add_glob(Glob((ANY_RUN,)), StatementRef(self.name, self.version_id, None, None))
            return _Rules(everything, None, ())
        tables: dict[Effect, _Table] = {}
        depending: list[tuple[Statement, tuple[Glob | None, ...], StatementRef]] = []
        for statement in self.document.statements:
            if action not in statement.actions:
                continue
            owner = StatementRef(self.name, self.version_id, statement.index, statement.sid)
            fixed = _fixed(statement)
            if statement.conditions or None in fixed:
                depending.append((statement, fixed, owner))
            else:
                tables.setdefault(statement.effect, _Table()).add(statement, fixed, {}, owner)
        if not tables and not depending:
            return None
        return _Rules(tables.get(Effect.DENY), tables.get(Effect.ALLOW), tuple(depending))


class CompiledPolicy:
    """
    The policies of one connection with its variables in place.

    Never changes an answer: when policies or variables change, another one is
    compiled.
    """

    __slots__ = ("_actions", "_policies", "_values")

    def __init__(self, policies: Sequence[Policy], values: Values) -> None:
        self._policies = tuple(policies)
        self._values = values
        self._actions: dict[Action, tuple[tuple[_Table, ...], tuple[_Table, ...]]] = {}

    def decide(self, action: Action, resource: str) -> Decision:
        """
        Whether the policies allow `action` on `resource`, an ARN, and why.

        The time is linear in the resource and in the size of the policies.
        """
        try:
            deny, allow = self._actions[action]
        except KeyError:
            deny, allow = self._actions[action] = self._compile(action)
        found: list[StatementRef] = []
        for table in deny:
            table.collect(resource, found)
        if found:
            return Decision(Outcome.EXPLICIT_DENY, _once(found))
        for table in allow:
            table.collect(resource, found)
        if found:
            return Decision(Outcome.ALLOWED, _once(found))
        return _IMPLICIT_DENY

    def missing(self, action: Action) -> tuple[str, ...]:
        """The variables and condition keys without a value here that statements about `action` ask for; sorted."""
        found: set[str] = set()
        for policy in self._policies:
            rules = policy.rules(action)
            for statement, _, _ in rules.depending if rules is not None else ():
                denying = statement.effect is Effect.DENY
                for resource in statement.resources:
                    found.update(resource.missing(self._values, denying=denying))
                for condition in statement.conditions:
                    found.update(condition.missing(self._values, denying=denying))
        return tuple(sorted(found))

    @property
    def empty(self) -> bool:
        """True when there is no policy at all."""
        return not self._policies

    def _compile(self, action: Action) -> tuple[tuple[_Table, ...], tuple[_Table, ...]]:
        deny: list[_Table] = []
        allow: list[_Table] = []
        for policy in self._policies:
            rules = policy.rules(action)
            if rules is None:
                continue
            if rules.deny is not None:
                deny.append(rules.deny)
            if rules.allow is not None:
                allow.append(rules.allow)
            if rules.depending:
                own_deny, own_allow = _Table(), _Table()
                for statement, fixed, owner in rules.depending:
                    denying = statement.effect is Effect.DENY
                    if all(condition.holds(self._values, denying=denying) for condition in statement.conditions):
                        (own_deny if denying else own_allow).add(statement, fixed, self._values, owner)
                deny.append(own_deny)
                allow.append(own_allow)
        return tuple(deny), tuple(allow)


def compile_policies(policies: Sequence[Policy], values: Values) -> CompiledPolicy:
    """The policies of a connection whose variables have `values`; cheap, since the work is done when asked for."""
    return CompiledPolicy(policies, values)


def _once(found: list[StatementRef]) -> tuple[StatementRef, ...]:
    return (found[0],) if len(found) == 1 else tuple(dict.fromkeys(found))
