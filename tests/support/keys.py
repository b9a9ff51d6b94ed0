"""Whose key each operation of /handfast/v1 needs. A new operation stands in exactly one of these."""

from __future__ import annotations

OPERATOR = {
    "AddHook",
    "CreateAccessKey",
    "CreateAccount",
    "CreateBackup",
    "DeleteServerCertificate",
    "DescribeRehearsal",
    "ForgetCertificate",
    "ImportServerCertificate",
    "ListAccessKeys",
    "ListAccounts",
    "ListHooks",
    "ListServerCertificates",
    "PromoteRoot",
    "RemoveHook",
    "RetireRoot",
    "RevokeAccessKey",
    "StartRehearsal",
    "StopRehearsal",
    "TakeUpRoots",
    "TestHook",
    "UpdateAccount",
}
"""The operator's alone."""
ACCOUNT = {
    "CancelCheck",
    "CancelRotation",
    "DescribeCheck",
    "DescribeClaim",
    "DescribeRotation",
    "ListCertificatesByExpiry",
    "ListCheckFindings",
    "ListProvisioningRuns",
    "ListRotations",
    "ListSightings",
    "RegisterCertificates",
    "ReplayPolicy",
    "RetryProvisioningRun",
    "RevokeCertificate",
    "RotateCertificate",
    "SetClaimLimits",
    "StartCheck",
    "TestPolicy",
    "UploadCheckFile",
}
"""An account's: they work on its resources, of which the operator has none."""
EVERYONE = {"DescribeAuditKey", "Explain", "ListAuditEvents", "ListEndpoints", "VerifyAudit"}
"""Any: an account sees its own, the operator everything."""
