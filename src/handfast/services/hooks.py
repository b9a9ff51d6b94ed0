"""The operator's hooks: added, listed, tried, removed, and asked before a device is provisioned."""

from __future__ import annotations

import base64
import datetime as dt
import json
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from handfast.core.identity.ids import AccountId, CertificateId, Scope
from handfast.core.pki.pem import read_certificates, read_request
from handfast.core.provisioning.hooks import (
    MAX_TIMEOUT_S,
    MIN_TIMEOUT_S,
    PAYLOAD_VERSION,
    Command,
    Hook,
    HookEvent,
    HookFailed,
    HookName,
    HookResult,
    Webhook,
    check_hook_name,
    check_secret,
    check_url,
    hook_in_arn,
    overrides_of,
    read_answer,
    serves,
)
from handfast.core.provisioning.provided import certificate_in
from handfast.core.provisioning.records import PreProvisioningHook, TemplateName
from handfast.errors import (
    CertificateInputError,
    DeleteConflictError,
    HookDenied,
    InvalidRequestError,
    LimitExceededError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
    StoreConflict,
)
from handfast.ports import Cause, Change, ChangeKind, Clock, Entropy, Meter, Store
from handfast.ports.hooks import HookRunner
from handfast.printable import printable
from handfast.services.accounts import is_account_id
from handfast.services.commit import Committer
from handfast.services.hook_questions import (
    SAMPLE_SCOPE,
    pre_provisioning_question,
    pre_provisioning_sample,
    provider_sample,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

HOOKS_MAX = 100
ACCOUNTS_MAX = 1000
MAX_CA_CHARACTERS = 65_536
CALLS_KEPT = 10
"""Last calls of each hook that are shown."""
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class HookCall:
    """One call, as the operator sees it. `detail` is empty where all is said."""

    at: dt.datetime
    event: HookEvent
    result: HookResult
    latency_s: float
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookState:
    """A hook, and the calls of it that this process made last, the newest first."""

    hook: Hook
    calls: Sequence[HookCall]


class KnowsHooks(Protocol):
    """What takes the names of hooks from callers (`Hooks`)."""

    async def require(self, scope: Scope, arn: str) -> None:
        """The ARN names a hook that serves the account, or InvalidRequestError."""
        ...


class CallsHooks(KnowsHooks, Protocol):
    """What needs an answer of a hook (`Hooks`)."""

    async def call(
        self, scope: Scope, arn: str, event: HookEvent, document: Mapping[str, Any], read: Callable[[dict[str, Any]], T]
    ) -> T: ...


class NoHooks:
    """`KnowsHooks` where there are none."""

    async def require(self, scope: Scope, arn: str) -> None:
        raise not_serving(hook_in_arn(scope, arn))


class Hooks:
    """The use cases of hooks. Who may call is the control plane's question."""

    def __init__(
        self,
        store: Store,
        runner: HookRunner,
        entropy: Entropy,
        clock: Clock,
        meter: Meter,
        commit: Committer,
        *,
        commands: Mapping[HookName, Command] | None = None,
    ) -> None:
        self._store = store
        self._runner = runner
        self._entropy = entropy
        self._clock = clock
        self._meter = meter
        self._commit = commit
        self._commands = dict(commands or {})
        self._calls: dict[HookName, deque[HookCall]] = {}

    # --- the operator's ---------------------------------------------------------------------------------------

    async def add(
        self,
        cause: Cause,
        name: str,
        url: str,
        *,
        secret: str | None = None,
        ca_pem: str | None = None,
        accounts: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> Webhook:
        """The webhook; its secret is made here unless one is given, and shown by this call only."""
        check_url(url)
        if secret is not None:
            check_secret(secret)
        if ca_pem is not None:
            _check_roots(ca_pem)
        hook = Webhook(
            name=check_hook_name(name),
            url=url,
            secret=secret or base64.urlsafe_b64encode(self._entropy.token_bytes(_SECRET_BYTES)).decode().rstrip("="),
            ca_pem=ca_pem,
            accounts=await self._checked_accounts(accounts),
            timeout_s=_checked_timeout(timeout_s),
            creation_date=cause.at,
        )
        taken = ResourceAlreadyExistsError(f"A hook of the name {name} exists", resourceId=name)
        if hook.name in self._commands:
            raise taken
        try:
            await self._commit(
                self._store.add_hook(hook, limit=HOOKS_MAX, cause=cause), suspects=[Change(ChangeKind.HOOK, None, name)]
            )
        except StoreConflict as conflict:
            if conflict.kind == "limit":
                raise LimitExceededError(f"There are {HOOKS_MAX} hooks already; remove one first") from None
            if conflict.kind != "exists":
                raise
            raise taken from None
        self._calls.pop(hook.name, None)
        return hook

    async def list_all(self) -> list[HookState]:
        """Every hook by name, those of the configuration file too."""
        hooks: list[Hook] = [*await self._store.hooks(), *self._commands.values()]
        hooks.sort(key=lambda hook: hook.name)
        return [HookState(hook=hook, calls=tuple(self._calls.get(hook.name, ()))) for hook in hooks]

    async def remove(self, cause: Cause, name: str, *, force: bool = False) -> None:
        """
        The webhook is gone. With `force` also one that is named: every device is denied then that asks for it.

        Raises:
            DeleteConflictError: A template or a certificate provider names it, and no force.
        """
        if name in self._commands:
            raise InvalidRequestError(
                f"The hook {name} is a command of the server's configuration file: take [hooks.{name}] out of it and "
                "start the server again"
            )
        try:
            await self._commit(
                self._store.remove_hook(HookName(name), cause, force=force),
                suspects=[Change(ChangeKind.HOOK, None, name)],
            )
        except StoreConflict as conflict:
            if conflict.kind == "named":
                raise DeleteConflictError(
                    f"The hook {name} is named by: {'; '.join(conflict.facts['names'])}. Without it every device that "
                    "provisions by these is denied: let them name another hook first, or remove it with --force (force)"
                ) from None
            if conflict.kind != "missing":
                raise
            raise _no_hook(name) from None
        self._calls.pop(HookName(name), None)

    async def try_out(self, name: str, event: HookEvent = HookEvent.PRE_PROVISIONING) -> tuple[HookCall, str]:
        """The hook is called with a sample of a device that does not exist: how it went, and what it answered."""
        hook = await self._find(HookName(name))
        if hook is None:
            raise _no_hook(name)
        answer = ""

        def read(document: dict[str, Any]) -> None:
            nonlocal answer
            answer = json.dumps(document)
            if event is HookEvent.PRE_PROVISIONING:
                overrides_of(document)
            else:
                certificate_in(document, read_request(sample["certificateSigningRequest"]), self._clock.now())

        sample = pre_provisioning_sample() if event is HookEvent.PRE_PROVISIONING else provider_sample()
        try:
            await self._call(hook, event, sample, read)
        except HookFailed:
            pass
        return self._calls[hook.name][0], answer

    async def _checked_accounts(self, accounts: Sequence[str]) -> tuple[AccountId, ...]:
        if len(accounts) > ACCOUNTS_MAX:
            raise InvalidRequestError(f"A hook is limited to at most {ACCOUNTS_MAX} accounts")
        for account in accounts:
            if not is_account_id(account) or await self._store.account(AccountId(account)) is None:
                raise InvalidRequestError(f"Account {account} does not exist")
        return tuple(AccountId(account) for account in dict.fromkeys(accounts))

    # --- named by resources -----------------------------------------------------------------------------------

    async def require(self, scope: Scope, arn: str) -> None:
        """The ARN names a hook that serves the account now, or InvalidRequestError."""
        name = hook_in_arn(scope, arn)
        hook = await self._find(name)
        if hook is None or not serves(hook, scope.account):
            raise not_serving(name)

    # --- calling ----------------------------------------------------------------------------------------------

    async def call(
        self, scope: Scope, arn: str, event: HookEvent, document: Mapping[str, Any], read: Callable[[dict[str, Any]], T]
    ) -> T:
        """
        What `read` makes of the answer of the hook that the ARN names. Recorded, counted and logged.

        Raises:
            HookFailed: Whatever went wrong; also what `read` raises.
        """
        try:
            name = hook_in_arn(scope, arn)
        except InvalidRequestError as error:
            raise self._unknown(scope, event, printable(arn, limit=120), str(error)) from None
        try:
            hook = await self._find(name)
        except Exception as error:
            log.exception("hook %s cannot be looked up, which denies", name)
            raise HookFailed(HookResult.FAILED, type(error).__name__) from error
        if hook is None or not serves(hook, scope.account):
            raise self._unknown(scope, event, name, "no hook of this name serves this account")
        return await self._call(hook, event, document, read, scope.account)

    def _unknown(self, scope: Scope, event: HookEvent, name: str, why: str) -> HookFailed:
        log.warning("hook %s was to be called for account %s: %s", name, scope.account, why)
        self._meter.count("handfast_hook_calls_total", labels={"event": event, "result": HookResult.MISSING})
        return HookFailed(HookResult.MISSING, why)

    async def _find(self, name: HookName) -> Hook | None:
        return self._commands.get(name) or await self._store.hook(name)

    async def _call(
        self,
        hook: Hook,
        event: HookEvent,
        document: Mapping[str, Any],
        read: Callable[[dict[str, Any]], T],
        account: AccountId = SAMPLE_SCOPE.account,
    ) -> T:
        body = json.dumps(document, separators=(",", ":")).encode()
        begun, at = self._clock.monotonic(), self._clock.now()

        def made(result: HookResult, detail: str = "") -> HookCall:
            latency_s = self._clock.monotonic() - begun
            return HookCall(at=at, event=event, result=result, latency_s=latency_s, detail=detail)

        # A caller that leaves meanwhile (CancelledError) is no result of the hook's.
        try:
            value = read(read_answer(await self._runner.run(hook, event, body)))
        except HookFailed as error:
            self._record(hook.name, account, made(error.result, str(error)))
            raise
        except Exception as error:
            log.exception("the call of hook %s failed inside, which denies", hook.name)
            self._record(hook.name, account, made(HookResult.FAILED, type(error).__name__))
            raise HookFailed(HookResult.FAILED, type(error).__name__) from error
        self._record(hook.name, account, made(HookResult.OK))
        return value

    def _record(self, name: HookName, account: AccountId, call: HookCall) -> None:
        self._calls.setdefault(name, deque(maxlen=CALLS_KEPT)).appendleft(call)
        self._meter.count("handfast_hook_calls_total", labels={"event": call.event, "result": call.result})
        self._meter.observe("handfast_hook_seconds", call.latency_s, labels={"event": call.event})
        log.log(
            logging.INFO if call.result in (HookResult.OK, HookResult.DENIED) else logging.WARNING,
            "hook %s was called (%s, account %s): %s after %.0f ms%s",
            name,
            call.event,
            account,
            call.result,
            call.latency_s * 1000,
            f": {printable(call.detail, limit=300)}" if call.detail else "",
        )


class PreProvisioningHooks:
    """Asks the hook of a template whether a device may be provisioned; whatever goes wrong denies."""

    def __init__(self, hooks: CallsHooks) -> None:
        self._hooks = hooks

    async def ask(
        self,
        scope: Scope,
        hook: PreProvisioningHook,
        *,
        template_name: TemplateName,
        claim_certificate_id: CertificateId,
        certificate_id: CertificateId,
        certificate_pem: str,
        client_id: str,
        parameters: Mapping[str, str],
    ) -> Mapping[str, str]:
        """
        The `parameterOverrides`, to be merged over `parameters`; {} when there are none.

        Raises:
            HookDenied: The hook did not say `"allowProvisioning": true` in time and in form.
        """
        document = pre_provisioning_question(
            scope,
            template_name,
            claim_certificate_id=claim_certificate_id,
            certificate_id=certificate_id,
            certificate_pem=certificate_pem,
            client_id=client_id,
            parameters=parameters,
        )
        if hook.payload_version != PAYLOAD_VERSION:
            raise HookDenied(f"The pre-provisioning hook's payloadVersion is not {PAYLOAD_VERSION}")
        try:
            return await self._hooks.call(scope, hook.target_arn, HookEvent.PRE_PROVISIONING, document, overrides_of)
        except HookFailed as error:
            if error.result is HookResult.DENIED:
                raise HookDenied("The pre-provisioning hook denied the provisioning") from error
            raise HookDenied(f"The pre-provisioning hook gave no usable answer ({error.result})") from error


def _checked_timeout(timeout_s: float | None) -> float:
    if timeout_s is None:
        return MAX_TIMEOUT_S
    if not MIN_TIMEOUT_S <= timeout_s <= MAX_TIMEOUT_S:
        raise InvalidRequestError(f"A hook's time limit lies between {MIN_TIMEOUT_S:g} and {MAX_TIMEOUT_S:g} seconds")
    return timeout_s


def _check_roots(pem: str) -> None:
    if len(pem) > MAX_CA_CHARACTERS:
        raise InvalidRequestError(f"The hook's roots have more than {MAX_CA_CHARACTERS} characters")
    try:
        read_certificates(pem, at_most=32)
    except CertificateInputError as error:
        raise InvalidRequestError(f"The hook's roots cannot be used: {error}") from error


def not_serving(name: HookName) -> InvalidRequestError:
    """The answer for a hook that nobody added, another account's included."""
    return InvalidRequestError(
        f"There is no hook {name} for this account, so every device would be denied. The operator adds it: "
        f"'handfast hook add {name} --url URL', or [hooks.{name}] in handfast.toml and a restart"
    )


def _no_hook(name: str) -> ResourceNotFoundError:
    return ResourceNotFoundError(f"There is no hook of the name {printable(name, limit=80)}")
