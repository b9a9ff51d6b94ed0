"""
Every error of the project in one tree.

    HandfastError
    ├── ServiceError                       an error of the AWS model; `code` is the shape's name
    │   ├── InvalidRequestError            InvalidRequestException
    │   ├── ResourceNotFoundError          ResourceNotFoundException
    │   ├── ResourceAlreadyExistsError     ResourceAlreadyExistsException
    │   ├── CertificateStateError          CertificateStateException
    │   ├── CertificateValidationError     CertificateValidationException
    │   ├── CertificateConflictError       CertificateConflictException
    │   ├── DeleteConflictError            DeleteConflictException
    │   ├── MalformedPolicyError           MalformedPolicyException
    │   ├── LimitExceededError             LimitExceededException
    │   ├── VersionsLimitExceededError     VersionsLimitExceededException
    │   ├── ConflictingResourceUpdateError ConflictingResourceUpdateException
    │   ├── ResourceRegistrationFailureError ResourceRegistrationFailureException
    │   ├── VersionConflictError           VersionConflictException
    │   ├── TransferConflictError          TransferConflictException
    │   ├── TransferAlreadyCompletedError  TransferAlreadyCompletedException
    │   ├── RegistrationCodeValidationError RegistrationCodeValidationException
    │   ├── ThrottlingError                ThrottlingException
    │   ├── UnauthorizedError              UnauthorizedException
    │   ├── ForbiddenError                 ForbiddenException
    │   ├── AccessDeniedError              AccessDeniedException
    │   ├── ServiceUnavailableError        ServiceUnavailableException
    │   └── InternalFailureError           InternalFailureException
    ├── ProtocolViolation                  a peer broke MQTT or TLS; carries a Reason Code
    ├── ConfigurationError                 flags, files, directories; the process stops with exit status 2
    ├── CertificateInputError              a certificate, CSR or key that cannot be used, with the rule it breaks
    ├── IssuerMismatch                     a ticket was to be signed with another key than its issuer's
    ├── TicketSpent                        a ticket was to be signed twice
    ├── HookDenied                         a pre-provisioning hook did not clearly say yes in time
    ├── ProviderFailed                     a certificate provider gave no certificate that can be used
    ├── PolicySyntaxError                  a policy document that cannot be used, with the JSON path
    ├── InputUnavailable                   the input of a bulk registration task cannot be read
    ├── StoreConflict                      a guard or a unique constraint said no
    └── StoreUnavailable                   nothing is known: the write may have happened

The HTTP status of a ServiceError is looked up in the service model at the edge
(`handfast.wire`), never written here.
"""

from __future__ import annotations

from typing import Any


class HandfastError(Exception):
    """The root of the tree. `str(error)` is fit for a person: what was seen, what was expected, what to do."""


class ServiceError(HandfastError):
    """An error that the AWS model names; `members` are further members of the error's shape."""

    code = "InternalFailureException"

    def __init__(self, message: str, **members: Any) -> None:
        super().__init__(message)
        self.message = message
        self.members = members


class InvalidRequestError(ServiceError):
    """The request breaks a rule of the model or of the operation."""

    code = "InvalidRequestException"


class ResourceNotFoundError(ServiceError):
    """Nothing of that name in this account and region."""

    code = "ResourceNotFoundException"


class ResourceAlreadyExistsError(ServiceError):
    """The name or certificate is taken; members: resourceId, resourceArn."""

    code = "ResourceAlreadyExistsException"


class CertificateStateError(ServiceError):
    """The certificate's status forbids the call."""

    code = "CertificateStateException"


class CertificateValidationError(ServiceError):
    """The certificate cannot be registered; the message names the rule."""

    code = "CertificateValidationException"


class CertificateConflictError(ServiceError):
    """More than one registered CA could have signed the certificate."""

    code = "CertificateConflictException"


class DeleteConflictError(ServiceError):
    """Something is still attached."""

    code = "DeleteConflictException"


class MalformedPolicyError(ServiceError):
    """The policy document is not one; the message holds the JSON path."""

    code = "MalformedPolicyException"


class LimitExceededError(ServiceError):
    """A count is at its limit."""

    code = "LimitExceededException"


class VersionsLimitExceededError(ServiceError):
    """A policy or provisioning template has its five versions."""

    code = "VersionsLimitExceededException"


class ResourceRegistrationFailureError(ServiceError):
    """A thing cannot be provisioned as the template says; the message names the resource."""

    code = "ResourceRegistrationFailureException"


class ConflictingResourceUpdateError(ServiceError):
    """The resource became another one while the call was under way; repeat it."""

    code = "ConflictingResourceUpdateException"


class VersionConflictError(ServiceError):
    """`expectedVersion` is not the current one."""

    code = "VersionConflictException"


class TransferConflictError(ServiceError):
    """The certificate cannot be transferred while something is attached."""

    code = "TransferConflictException"


class TransferAlreadyCompletedError(ServiceError):
    """The transfer was settled before."""

    code = "TransferAlreadyCompletedException"


class RegistrationCodeValidationError(ServiceError):
    """The verification certificate does not carry the caller's registration code."""

    code = "RegistrationCodeValidationException"


class ThrottlingError(ServiceError):
    """Too fast."""

    code = "ThrottlingException"


class UnauthorizedError(ServiceError):
    """The principal may not do that."""

    code = "UnauthorizedException"


class ForbiddenError(ServiceError):
    """The data plane's refusal."""

    code = "ForbiddenException"


class AccessDeniedError(ServiceError):
    """The access key may not call the operation: the operator's and the accounts' keys each have their own."""

    code = "AccessDeniedException"


class ServiceUnavailableError(ServiceError):
    """The store did not answer; try again."""

    code = "ServiceUnavailableException"


class InternalFailureError(ServiceError):
    """Tells the peer nothing; the log has it."""

    code = "InternalFailureException"


class ProtocolViolation(HandfastError):
    """A peer broke the protocol. `reason` is the Reason Code (MQTT) or alert (TLS) that answers it."""

    def __init__(self, message: str, reason: int) -> None:
        super().__init__(message)
        self.reason = reason


class ConfigurationError(HandfastError):
    """A flag, file or directory that cannot be used: one line saying what and what to do; exit status 2."""


class CertificateInputError(HandfastError):
    """A certificate, CSR or key that cannot be used. `rule` is a short, stable name of the broken rule."""

    def __init__(self, message: str, rule: str) -> None:
        super().__init__(message)
        self.rule = rule


class IssuerMismatch(HandfastError):
    """`core.pki.issue.sign` was handed a key that is not the ticket's issuer's: a bug or a mixed-up key file."""


class TicketSpent(HandfastError):
    """`core.pki.issue.sign` was handed a ticket that was redeemed before: a bug."""


class HookDenied(HandfastError):
    """A pre-provisioning hook did not clearly say yes in time. The message is fit for the device that asked."""


class ProviderFailed(HandfastError):
    """A certificate provider gave no certificate that can be used. The message is fit for the device that asked."""


class PolicySyntaxError(HandfastError):
    """
    A policy document that cannot be used. `path` is the JSON path of the place (`$.Statement[0].Effect`).

    `message` is the sentence without the path.
    """

    def __init__(self, message: str, path: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


class InputUnavailable(HandfastError):
    """The input of a bulk registration task cannot be read. The message is fit for the account that asked."""


class StoreConflict(HandfastError):
    """
    A guard or unique constraint of the store said no; never retried by the store.

    `kind` says which: "exists", "missing", "status", "things", "policies", "targets", "limit", "version".
    """

    def __init__(self, kind: str, message: str = "", **facts: Any) -> None:
        super().__init__(message or kind)
        self.kind = kind
        self.facts = facts


class StoreUnavailable(HandfastError):
    """The store gave no answer: the write may or may not have happened."""
