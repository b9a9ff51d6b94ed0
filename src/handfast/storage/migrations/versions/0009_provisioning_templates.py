"""Provisioning templates with their versions, and how the devices of a CA are provisioned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")
INSTANT = sa.BigInteger()
BY_TEMPLATE = sa.text("template_name IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "provisioning_templates",
        *_keys("template_name"),
        sa.Column("type", KEY, nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("enabled", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("role_arn", sa.Text(), nullable=False),
        sa.Column("hook_payload_version", KEY, nullable=True),
        sa.Column("hook_target_arn", sa.Text(), nullable=True),
        sa.Column("default_version", sa.Integer(), nullable=False),
        sa.Column("last_version", sa.Integer(), nullable=False),
        sa.Column("creation_date", INSTANT, nullable=False),
        sa.Column("last_modified_date", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.account_id"], name=op.f("fk_provisioning_templates_accounts")
        ),
        _primary("provisioning_templates", "template_name"),
    )
    op.create_table(
        "provisioning_template_versions",
        *_keys("template_name"),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("creation_date", INSTANT, nullable=False),
        _refers(
            "provisioning_template_versions", "template_name", "provisioning_templates", "template_name", cascade=True
        ),
        _primary("provisioning_template_versions", "template_name", "version"),
    )
    op.create_table(
        "registration_configs",
        *_keys("certificate_id"),
        sa.Column("template_name", KEY, nullable=True),
        sa.Column("template_body", sa.Text(), nullable=True),
        sa.Column("role_arn", sa.Text(), nullable=True),
        _refers("registration_configs", "certificate_id", "ca_certificates", "certificate_id", cascade=True),
        _refers("registration_configs", "template_name", "provisioning_templates", "template_name"),
        _primary("registration_configs", "certificate_id"),
    )
    op.create_index(
        "ix_registration_configs_template",
        "registration_configs",
        ["account_id", "region", "template_name", "certificate_id"],
        unique=False,
        sqlite_where=BY_TEMPLATE,
        postgresql_where=BY_TEMPLATE,
    )


def _keys(*names: str) -> Sequence[sa.Column[Any]]:
    return [sa.Column(name, KEY, nullable=False) for name in ("account_id", "region", *names)]


def _refers(table: str, column: str, other: str, key: str, *, cascade: bool = False) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["account_id", "region", column],
        [f"{other}.account_id", f"{other}.region", f"{other}.{key}"],
        name=op.f(f"fk_{table}_{other}"),
        ondelete="CASCADE" if cascade else None,
    )


def _primary(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint("account_id", "region", *columns, name=op.f(f"pk_{table}"))
