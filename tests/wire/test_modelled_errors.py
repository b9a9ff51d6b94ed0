"""
Each error that the model gives an operation is provoked, and each operation answered, with botocore at the other end.

A test compares the table with the model, so that no error of a certificate
operation is forgotten.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.support import domains
from tests.support.control_world import MINE, PROVIDER, REGION, THEIRS, UNKNOWN, Members, World, new_template, own_name
from tests.support.registry import NOW, TEMPLATE_BODY, cause, provisioning_template
from tests.support.strict import issue, leaf, own_ca, register_ca

from handfast.core.identity.ids import Scope
from handfast.core.identity.records import AccountStatus
from handfast.core.provisioning.records import TemplateName
from handfast.errors import StoreUnavailable
from handfast.services import provisioning_templates

OPERATIONS = (
    "AcceptCertificateTransfer",
    "CancelCertificateTransfer",
    "CreateCertificateFromCsr",
    "CreateCertificateProvider",
    "CreateDomainConfiguration",
    "CreateKeysAndCertificate",
    "CreateProvisioningClaim",
    "CreateProvisioningTemplate",
    "CreateProvisioningTemplateVersion",
    "DeleteCACertificate",
    "DeleteCertificate",
    "DeleteCertificateProvider",
    "DeleteDomainConfiguration",
    "DeleteProvisioningTemplate",
    "DeleteProvisioningTemplateVersion",
    "DeleteRegistrationCode",
    "DescribeCACertificate",
    "DescribeCertificate",
    "DescribeCertificateProvider",
    "DescribeDomainConfiguration",
    "DescribeEndpoint",
    "DescribeProvisioningTemplate",
    "DescribeProvisioningTemplateVersion",
    "DescribeThingRegistrationTask",
    "GetRegistrationCode",
    "ListCACertificates",
    "ListCertificateProviders",
    "ListCertificates",
    "ListCertificatesByCA",
    "ListDomainConfigurations",
    "ListOutgoingCertificates",
    "ListProvisioningTemplateVersions",
    "ListProvisioningTemplates",
    "ListThingRegistrationTaskReports",
    "ListThingRegistrationTasks",
    "RegisterCACertificate",
    "RegisterCertificate",
    "RegisterCertificateWithoutCA",
    "RejectCertificateTransfer",
    "StartThingRegistrationTask",
    "StopThingRegistrationTask",
    "TransferCertificate",
    "UpdateCACertificate",
    "UpdateCertificate",
    "UpdateCertificateProvider",
    "UpdateDomainConfiguration",
    "UpdateProvisioningTemplate",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("world"))
    yield made
    made.run(made.stack.aclose())


def _call(client: Any, operation: str, members: Members) -> Any:
    return client._make_api_call(operation, members)  # by the operation's own name


def _no_provider(world: World) -> Members:
    """A name to make one of, where there is none."""
    members = world.provider()
    world.mine.delete_certificate_provider(**members)
    return members


def _new_domain(_world: World) -> Members:
    return {"domainConfigurationName": uuid.uuid4().hex}


def _no_domain(_world: World) -> Members:
    return {"domainConfigurationName": "none"}


def _for_another_name(world: World) -> Members:
    return _new_domain(world) | own_name(domains.fresh(), world.server_certificate(domains.fresh()))


def _full_of_domains(world: World) -> Members:
    """No domain may be made but by this very call's end."""
    service = world.domains.domains
    allowed, service._limit = service._limit, 0

    async def again(_store: Any) -> None:
        service._limit = allowed

    world.store.meanwhile = "create_domain_configuration", again
    return _new_domain(world)


def _nobodys_provider(**members: Any) -> Callable[[World], Members]:
    return lambda _world: {"certificateProviderName": "nobody"} | members


def _template(versions: int = 1, **members: Any) -> Callable[[World], Members]:
    return lambda w: {"templateName": w.template(versions)} | members


def _leaf_of_a_ca(world: World) -> Members:
    ca = own_ca()
    register_ca(world.mine, ca)
    return {"certificatePem": issue(ca)}


def _code(world: World) -> Members:
    world.mine.get_registration_code()
    return {}


def _nothing(_world: World) -> Members:
    return {}


def _new_account_has_no_endpoint(world: World) -> Members:
    world.endpoints._prefixes.clear()  # as in a process that has just started, before anyone asked
    return {"endpointType": "iot:Data-ATS"}


GOOD: dict[str, Callable[[World], Members]] = {
    "AcceptCertificateTransfer": lambda w: {"certificateId": w.offer(w.theirs, MINE)},
    "CancelCertificateTransfer": lambda w: {"certificateId": w.offer(w.mine, THEIRS)},
    "CreateCertificateFromCsr": lambda _: {"certificateSigningRequest": "good"},
    "CreateCertificateProvider": lambda w: _no_provider(w) | PROVIDER,
    "CreateDomainConfiguration": _new_domain,
    "CreateKeysAndCertificate": _nothing,
    "CreateProvisioningClaim": lambda w: {"templateName": w.template(enabled=True)},
    "CreateProvisioningTemplate": lambda _: new_template(uuid.uuid4().hex),
    "CreateProvisioningTemplateVersion": _template(templateBody=TEMPLATE_BODY),
    "DeleteCACertificate": lambda w: {"certificateId": w.ca(setAsActive=False)},
    "DeleteCertificate": lambda w: {"certificateId": w.certificate()},
    "DeleteCertificateProvider": lambda w: w.provider(),
    "DeleteDomainConfiguration": lambda w: w.own_domain("DISABLED"),
    "DeleteProvisioningTemplate": _template(),
    "DeleteProvisioningTemplateVersion": _template(2, versionId=2),
    "DeleteRegistrationCode": _code,
    "DescribeCACertificate": lambda w: {"certificateId": w.ca()},
    "DescribeCertificate": lambda w: {"certificateId": w.certificate()},
    "DescribeCertificateProvider": lambda w: w.provider(),
    "DescribeDomainConfiguration": lambda w: w.domain(),
    "DescribeEndpoint": _new_account_has_no_endpoint,
    "DescribeProvisioningTemplate": _template(),
    "DescribeProvisioningTemplateVersion": _template(versionId=1),
    "DescribeThingRegistrationTask": lambda w: {"taskId": w.task()},
    "GetRegistrationCode": _nothing,
    "ListCACertificates": _nothing,
    "ListCertificateProviders": _nothing,
    "ListCertificates": _nothing,
    "ListCertificatesByCA": lambda _: {"caCertificateId": UNKNOWN},
    "ListDomainConfigurations": _nothing,
    "ListOutgoingCertificates": _nothing,
    "ListProvisioningTemplateVersions": _template(),
    "ListProvisioningTemplates": _nothing,
    "ListThingRegistrationTaskReports": lambda w: {"taskId": w.task(), "reportType": "ERRORS"},
    "ListThingRegistrationTasks": _nothing,
    "RegisterCACertificate": lambda w: w.proven(),
    "RegisterCertificate": _leaf_of_a_ca,
    "RegisterCertificateWithoutCA": lambda _: {"certificatePem": leaf()},
    "RejectCertificateTransfer": lambda w: {"certificateId": w.offer(w.theirs, MINE)},
    "StartThingRegistrationTask": lambda w: w.idle(),
    "StopThingRegistrationTask": lambda w: {"taskId": w.task()},
    "TransferCertificate": lambda w: {"certificateId": w.certificate(), "targetAwsAccount": THEIRS},
    "UpdateCACertificate": lambda w: {"certificateId": w.ca(), "newStatus": "INACTIVE"},
    "UpdateCertificate": lambda w: {"certificateId": w.certificate(), "newStatus": "ACTIVE"},
    "UpdateCertificateProvider": lambda w: w.provider() | PROVIDER,
    "UpdateDomainConfiguration": lambda w: w.domain() | {"domainConfigurationStatus": "DISABLED"},
    "UpdateProvisioningTemplate": _template(enabled=True),
}
"""A call of each operation that succeeds."""


def _twice(register: str) -> Callable[[World], Members]:
    def again(world: World) -> Members:
        members = GOOD[register](world)
        _call(world.mine, register, members)
        return members

    return again


def _settled(giver: str) -> Callable[[World], Members]:
    def done(world: World) -> Members:
        if giver == "mine":
            made = world.offer(world.mine, THEIRS)
            world.theirs.accept_certificate_transfer(certificateId=made)
        else:
            made = world.offer(world.theirs, MINE)
            world.theirs.cancel_certificate_transfer(certificateId=made)
        return {"certificateId": made}

    return done


def _unregistered_ca(_world: World) -> Members:
    return {"certificatePem": issue(own_ca())}


def _same_name_and_key(world: World) -> Members:
    one = own_ca()
    for ca in (one, own_ca(one.name, key=one.key)):
        register_ca(world.mine, ca)
    return {"certificatePem": issue(one)}


def _expired() -> str:
    now = dt.datetime.now(dt.UTC)
    span = {"not_before": now - dt.timedelta(days=9), "not_after": now - dt.timedelta(days=1)}
    return issue(own_ca(), **span)


def _eleventh(world: World) -> Members:
    name = own_ca().name
    for _ in range(10):
        world.mine.register_ca_certificate(caCertificate=own_ca(name).pem, certificateMode="SNI_ONLY")
    return {"caCertificate": own_ca(name).pem, "certificateMode": "SNI_ONLY"}


def _no_code(world: World) -> Members:
    world.mine.get_registration_code()
    world.mine.delete_registration_code()
    return {}


def _full_of_templates(world: World) -> Members:
    """No template may be made but by this very call's end: filling the account for good would take it from others."""
    allowed, provisioning_templates.TEMPLATES_PER_ACCOUNT = provisioning_templates.TEMPLATES_PER_ACCOUNT, 0

    async def again(_store: Any) -> None:
        provisioning_templates.TEMPLATES_PER_ACCOUNT = allowed

    world.store.meanwhile = "create_provisioning_template", again
    return new_template(uuid.uuid4().hex)


def _replaced(method: str, versions: int = 1, **members: Any) -> Callable[[World], Members]:
    """While the call is under way, somebody deletes the template and makes another one of its name."""

    def between(world: World) -> Members:
        name = TemplateName(world.template(versions))
        scope = Scope(MINE, REGION)

        async def replace(store: Any) -> None:
            made = await store.provisioning_template(scope, name)
            if versions > 1:
                await store.delete_provisioning_template_version(
                    scope, name, versions, created=made.creation_date, cause=cause()
                )
            await store.delete_provisioning_template(scope, name, created=made.creation_date, cause=cause())
            another = provisioning_template(name, scope=scope, creation_date=NOW)
            await store.create_provisioning_template(another, cause(), limit=999)

        world.store.meanwhile = method, replace
        return {"templateName": name} | members

    return between


def _of_a_ca(world: World) -> Members:
    name = world.template(type="JITP")
    world.ca(registrationConfig={"templateName": name})
    return {"templateName": name}


def _no_template(**members: Any) -> Callable[[World], Members]:
    return lambda _world: {"templateName": "none"} | members


def _id(**members: Any) -> Callable[[World], Members]:
    return lambda _world: {"certificateId": UNKNOWN} | members


CHANGED = "ConflictingResourceUpdateException"
OWN: dict[tuple[str, str], Callable[[World], Members]] = {
    ("CreateCertificateProvider", "LimitExceededException"): lambda w: (
        w.provider() | {"certificateProviderName": "another"} | PROVIDER
    ),
    ("CreateCertificateProvider", "ResourceAlreadyExistsException"): lambda w: w.provider() | PROVIDER,
    ("DeleteCertificateProvider", "ResourceNotFoundException"): _nobodys_provider(),
    ("DescribeCertificateProvider", "ResourceNotFoundException"): _nobodys_provider(),
    ("UpdateCertificateProvider", "ResourceNotFoundException"): _nobodys_provider(),
    ("CreateDomainConfiguration", "CertificateValidationException"): _for_another_name,
    ("CreateDomainConfiguration", "LimitExceededException"): _full_of_domains,
    ("CreateDomainConfiguration", "ResourceAlreadyExistsException"): lambda w: w.domain(),
    ("DeleteDomainConfiguration", "ResourceNotFoundException"): _no_domain,
    ("DescribeDomainConfiguration", "ResourceNotFoundException"): _no_domain,
    ("UpdateDomainConfiguration", "ResourceNotFoundException"): _no_domain,
    ("CreateProvisioningClaim", "ResourceNotFoundException"): _no_template(),
    ("CreateProvisioningTemplate", "LimitExceededException"): _full_of_templates,
    ("CreateProvisioningTemplate", "ResourceAlreadyExistsException"): _twice("CreateProvisioningTemplate"),
    ("CreateProvisioningTemplateVersion", CHANGED): _replaced(
        "create_provisioning_template_version", templateBody=TEMPLATE_BODY
    ),
    ("CreateProvisioningTemplateVersion", "ResourceNotFoundException"): _no_template(templateBody=TEMPLATE_BODY),
    ("CreateProvisioningTemplateVersion", "VersionsLimitExceededException"): _template(5, templateBody=TEMPLATE_BODY),
    ("DeleteProvisioningTemplate", CHANGED): _replaced("delete_provisioning_template"),
    ("DeleteProvisioningTemplate", "DeleteConflictException"): _of_a_ca,
    ("DeleteProvisioningTemplate", "ResourceNotFoundException"): _no_template(),
    ("DeleteProvisioningTemplateVersion", CHANGED): _replaced("delete_provisioning_template_version", 2, versionId=2),
    ("DeleteProvisioningTemplateVersion", "DeleteConflictException"): _template(2, versionId=1),
    ("DeleteProvisioningTemplateVersion", "ResourceNotFoundException"): _template(2, versionId=3),
    ("DescribeProvisioningTemplate", "ResourceNotFoundException"): _no_template(),
    ("DescribeProvisioningTemplateVersion", "ResourceNotFoundException"): _template(versionId=2),
    ("DescribeThingRegistrationTask", "ResourceNotFoundException"): lambda _: {"taskId": "none"},
    ("StopThingRegistrationTask", "ResourceNotFoundException"): lambda _: {"taskId": "none"},
    ("ListProvisioningTemplateVersions", "ResourceNotFoundException"): _no_template(),
    ("UpdateProvisioningTemplate", CHANGED): _replaced("update_provisioning_template", enabled=True),
    ("UpdateProvisioningTemplate", "ResourceNotFoundException"): _template(defaultVersionId=2),
    ("AcceptCertificateTransfer", "ResourceNotFoundException"): _id(),
    ("AcceptCertificateTransfer", "TransferAlreadyCompletedException"): _settled("theirs"),
    ("CancelCertificateTransfer", "ResourceNotFoundException"): _id(),
    ("CancelCertificateTransfer", "TransferAlreadyCompletedException"): _settled("mine"),
    ("DeleteCACertificate", "CertificateStateException"): lambda w: {"certificateId": w.ca()},
    ("DeleteCACertificate", "ResourceNotFoundException"): _id(),
    ("DeleteCertificate", "CertificateStateException"): lambda w: {"certificateId": w.certificate(status="ACTIVE")},
    ("DeleteCertificate", "DeleteConflictException"): lambda w: {"certificateId": w.attached()},
    ("DeleteCertificate", "ResourceNotFoundException"): _id(),
    ("DeleteRegistrationCode", "ResourceNotFoundException"): _no_code,
    ("DescribeCACertificate", "ResourceNotFoundException"): _id(),
    ("DescribeCertificate", "ResourceNotFoundException"): _id(),
    ("RegisterCACertificate", "CertificateValidationException"): lambda w: w.proven(caCertificate=leaf()),
    ("RegisterCACertificate", "LimitExceededException"): _eleventh,
    ("RegisterCACertificate", "RegistrationCodeValidationException"): lambda w: (
        lambda ca: {"caCertificate": ca.pem, "verificationCertificate": issue(ca, "not the code")}
    )(own_ca()),
    ("RegisterCACertificate", "ResourceAlreadyExistsException"): _twice("RegisterCACertificate"),
    ("RegisterCACertificate", "ResourceNotFoundException"): lambda w: w.proven(
        registrationConfig={"templateName": "none"}
    ),
    ("RegisterCertificate", "CertificateConflictException"): _same_name_and_key,
    ("RegisterCertificate", "CertificateStateException"): lambda w: _leaf_of_a_ca(w) | {"status": "PENDING_ACTIVATION"},
    ("RegisterCertificate", "CertificateValidationException"): _unregistered_ca,
    ("RegisterCertificate", "ResourceAlreadyExistsException"): _twice("RegisterCertificate"),
    ("RegisterCertificateWithoutCA", "CertificateStateException"): lambda _: {
        "certificatePem": leaf(),
        "status": "PENDING_ACTIVATION",
    },
    ("RegisterCertificateWithoutCA", "CertificateValidationException"): lambda _: {"certificatePem": _expired()},
    ("RegisterCertificateWithoutCA", "ResourceAlreadyExistsException"): _twice("RegisterCertificateWithoutCA"),
    ("RejectCertificateTransfer", "ResourceNotFoundException"): _id(),
    ("RejectCertificateTransfer", "TransferAlreadyCompletedException"): _settled("theirs"),
    ("TransferCertificate", "CertificateStateException"): lambda w: {
        "certificateId": w.certificate(status="ACTIVE"),
        "targetAwsAccount": THEIRS,
    },
    ("TransferCertificate", "ResourceNotFoundException"): _id(targetAwsAccount=THEIRS),
    ("TransferCertificate", "TransferConflictException"): lambda w: {
        "certificateId": w.attached(),
        "targetAwsAccount": THEIRS,
    },
    ("UpdateCACertificate", "ResourceNotFoundException"): _id(newStatus="ACTIVE"),
    ("UpdateCertificate", "CertificateStateException"): lambda w: {
        "certificateId": w.certificate(status="REVOKED"),
        "newStatus": "ACTIVE",
    },
    ("UpdateCertificate", "ResourceNotFoundException"): _id(newStatus="ACTIVE"),
}
"""How each operation's own errors are provoked."""

NEVER = {
    ("DeleteCertificateProvider", "DeleteConflictException"),
    ("UpdateDomainConfiguration", "CertificateValidationException"),
}
"""Modelled, and nothing here could be the cause: a provider has nothing that would keep it, and an update names no
server certificate."""

INVALID: dict[str, Members] = {
    "CreateCertificateProvider": {"lambdaFunctionArn": "arn:aws:lambda:us-east-1:210987654321:function:sign"},
    "CreateDomainConfiguration": {"serviceType": "JOBS"},
    "DeleteDomainConfiguration": {"domainConfigurationName": "no spaces"},
    "DescribeDomainConfiguration": {"domainConfigurationName": "no spaces"},
    "ListDomainConfigurations": {"marker": "AAAA"},
    "UpdateDomainConfiguration": {"tlsConfig": {"securityPolicy": "none"}},
    "CreateProvisioningClaim": {"templateName": "no spaces"},
    "DeleteCertificateProvider": {"certificateProviderName": "no spaces"},
    "DescribeCertificateProvider": {"certificateProviderName": "no spaces"},
    "ListCertificateProviders": {"nextToken": "AAAA"},
    "UpdateCertificateProvider": {"lambdaFunctionArn": "sign"},
    "CreateCertificateFromCsr": {"certificateSigningRequest": "bad"},
    "DescribeEndpoint": {"endpointType": "iot:Abc"},
    "ListCACertificates": {"marker": "AAAA"},
    "ListCertificates": {"marker": "AAAA"},
    "ListCertificatesByCA": {"caCertificateId": "g" * 64},
    "ListOutgoingCertificates": {"marker": "AAAA"},
    "RegisterCACertificate": {"certificateMode": "SNI_ONLY"},
    "RegisterCertificate": {"status": "REGISTER_INACTIVE"},
    "RegisterCertificateWithoutCA": {"status": "REGISTER_INACTIVE"},
    "TransferCertificate": {"targetAwsAccount": MINE},
    "UpdateCACertificate": {"newStatus": "REVOKED"},
    "UpdateCertificate": {"newStatus": "REGISTER_INACTIVE"},
    "CreateProvisioningTemplate": {"templateBody": "{"},
    "CreateProvisioningTemplateVersion": {"templateBody": "[]"},
    "DeleteProvisioningTemplate": {"templateName": "no spaces"},
    "DeleteProvisioningTemplateVersion": {"templateName": "no spaces"},
    "DescribeProvisioningTemplate": {"templateName": "no spaces"},
    "DescribeProvisioningTemplateVersion": {"templateName": "no spaces"},
    "ListProvisioningTemplateVersions": {"nextToken": "AAAA"},
    "ListProvisioningTemplates": {"nextToken": "AAAA"},
    "DescribeThingRegistrationTask": {"taskId": "x" * 41},
    "ListThingRegistrationTaskReports": {"taskId": "none"},
    "ListThingRegistrationTasks": {"nextToken": "AAAA"},
    "StartThingRegistrationTask": {"inputFileKey": "../handfast.db"},
    "StopThingRegistrationTask": {"taskId": "x" * 41},
    "UpdateProvisioningTemplate": {"removePreProvisioningHook": True, "preProvisioningHook": {"targetArn": "hook"}},
}
"""What makes a good call invalid; an id that is not hexadecimal for the others, and where there is no member at
all, a region that is none."""


# --- errors that operations have in common


def _fails(client: Any, operation: str, members: Members) -> ClientError:
    with pytest.raises(ClientError) as caught:
        _call(client, operation, members)
    return caught.value


def _invalid(world: World, operation: str) -> ClientError:
    if operation in ("CreateKeysAndCertificate", "GetRegistrationCode"):
        return _fails(world.client(1, "1-nowhere"), operation, {})
    return _fails(world.mine, operation, GOOD[operation](world) | INVALID.get(operation, {"certificateId": "g" * 64}))


def _throttled(world: World, operation: str) -> ClientError:
    members = GOOD[operation](world)
    world.time.still = True
    try:
        for _ in range(15):
            try:
                _call(world.mine, operation, members)
            except ClientError as error:
                if error.response["Error"]["Code"] == "ThrottlingException":
                    return error  # what does not succeed twice counts as a call all the same
        return _fails(world.mine, operation, members)
    finally:
        world.time.still = False


def _unauthorized(world: World, operation: str) -> ClientError:
    members = GOOD[operation](world)
    world.enabled(AccountStatus.DISABLED)
    try:
        return _fails(world.mine, operation, members)
    finally:
        world.enabled(AccountStatus.ENABLED)


def _store_fails(failure: Exception) -> Callable[[World, str], ClientError]:
    def provoke(world: World, operation: str) -> ClientError:
        members = GOOD[operation](world)
        world.store.failure = failure
        try:
            error = _fails(world.mine, operation, members)
        finally:
            world.store.failure = None
        _call(world.mine, operation, members)  # the very same call succeeds when the store is back
        return error

    return provoke


COMMON: dict[str, Callable[[World, str], ClientError]] = {
    "InternalFailureException": _store_fails(RuntimeError("a bug")),
    "InvalidRequestException": _invalid,
    "ServiceUnavailableException": _store_fails(StoreUnavailable("the disk is gone")),
    "ThrottlingException": _throttled,
    "UnauthorizedException": _unauthorized,
}


def _modelled() -> list[tuple[str, str]]:
    """Of botocore's own model, not of ours."""
    from botocore.session import Session

    model = Session().get_service_model("iot")
    return [
        (operation, shape.name) for operation in OPERATIONS for shape in model.operation_model(operation).error_shapes
    ]


def test_every_modelled_error_has_its_provocation_and_every_provocation_its_error() -> None:
    modelled = set(_modelled())
    provoked = OWN.keys() | NEVER | {(operation, error) for operation, error in modelled if error in COMMON}
    assert modelled == provoked
    assert set(OPERATIONS) == GOOD.keys()


@pytest.mark.parametrize(
    ("operation", "code"),
    [each for each in _modelled() if each not in NEVER],
    ids=lambda name: str(name).removesuffix("Exception"),
)
def test_a_modelled_error_arrives_as_it_is_modelled(world: World, operation: str, code: str) -> None:
    if code in COMMON:
        error = COMMON[code](world, operation)
    else:
        error = _fails(world.mine, operation, OWN[operation, code](world))
    shapes = {shape.name: shape for shape in world.mine.meta.service_model.operation_model(operation).error_shapes}
    response = error.response
    assert code == response["Error"]["Code"], response
    assert code == type(error).__name__, "botocore's own class"
    assert shapes[code].metadata["error"]["httpStatusCode"] == response["ResponseMetadata"]["HTTPStatusCode"]
    assert response["Error"]["Message"]
    for member in shapes[code].members.keys() - {"message"}:
        assert response[member], f"{code} has {member}"
    if "resourceArn" in shapes[code].members:
        kinds = {
            "RegisterCACertificate": "cacert",
            "CreateProvisioningTemplate": "provisioningtemplate",
            "CreateDomainConfiguration": "domainconfiguration",
            "CreateCertificateProvider": "certificateprovider",
        }
        kind = kinds.get(operation, "cert")
        arn = f"arn:aws:iot:{REGION}:{MINE}:{kind}/{response['resourceId']}"
        if operation == "CreateDomainConfiguration":
            assert arn == response["resourceArn"].rpartition("/")[0]  # then its suffix
        else:
            assert arn == response["resourceArn"]


def test_a_store_that_is_silent_is_an_internal_failure_where_nothing_else_is_modelled(world: World) -> None:
    error = _store_fails(StoreUnavailable("the disk is gone"))(world, "DescribeEndpoint")
    assert isinstance(error, world.mine.exceptions.InternalFailureException)


def test_what_went_wrong_inside_is_not_told(world: World) -> None:
    for failure in (RuntimeError("the secret path"), StoreUnavailable("the secret path")):
        error = _store_fails(failure)(world, "UpdateCertificate")
        assert "secret" not in str(error.response)
