"""How the devices that a CA signed are provisioned: the operations on the table of registration configurations."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, and_, delete, insert, select

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.records import RegistrationConfig
from handfast.core.provisioning.records import TemplateType
from handfast.errors import StoreConflict
from handfast.storage.certificates import in_scope
from handfast.storage.journal import Facts
from handfast.storage.tables import ca_certificates, provisioning_templates, registration_configs

_R = registration_configs.c
_C = ca_certificates.c
_T = provisioning_templates.c

COLUMNS = (_R.template_name, _R.template_body, _R.role_arn)
"""What `of_row` reads."""
OF_CA = and_(_R.account_id == _C.account_id, _R.region == _C.region, _R.certificate_id == _C.certificate_id)
"""Joins a CA certificate with its configuration, if it has one."""


def of_row(row: Row[*tuple[Any, ...]]) -> RegistrationConfig | None:
    """The configuration in a row that holds `COLUMNS`."""
    if row.template_name is None and row.template_body is None:
        return None
    return RegistrationConfig(template_name=row.template_name, template_body=row.template_body, role_arn=row.role_arn)


def store(
    connection: Connection, scope: Scope, certificate_id: CertificateId, config: RegistrationConfig | None
) -> None:
    """The CA has this configuration, or none; StoreConflict "template", "template_type" as `ports.Store` says."""
    connection.execute(delete(registration_configs).where(in_scope(_R, scope), _R.certificate_id == certificate_id))
    if config is None:
        return
    if config.template_name is not None:
        _require(connection, scope, config.template_name)
    connection.execute(
        insert(registration_configs).values(
            account_id=scope.account,
            region=scope.region,
            certificate_id=certificate_id,
            template_name=config.template_name,
            template_body=config.template_body,
            role_arn=config.role_arn,
        )
    )


def audited(config: RegistrationConfig | None) -> Facts:
    """What an audit row says of it."""
    if config is None:
        return {}
    members = {
        "templateName": config.template_name,
        "templateBody": config.template_body,
        "roleArn": config.role_arn,
    }
    return {"registrationConfig": {name: value for name, value in members.items() if value is not None}}


def _require(connection: Connection, scope: Scope, template_name: str) -> None:
    query = select(_T.type).where(in_scope(_T, scope), _T.template_name == template_name)
    found = connection.execute(query).scalar()
    if found is None:
        raise StoreConflict("template", f"Provisioning template {template_name} does not exist")
    if found != TemplateType.JITP.value:
        raise StoreConflict("template_type", f"Provisioning template {template_name} is of type {found}")
