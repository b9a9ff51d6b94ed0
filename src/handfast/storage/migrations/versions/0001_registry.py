"""The registry: accounts, keys, endpoints, certificates, things, policies, audit and changes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Frozen here: a revision says what it made, whatever the tables module says later.
KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.BigInteger()


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", KEY, nullable=False),
        sa.Column("creation_date", INSTANT, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_accounts")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "audit",
        sa.Column("sequence", SERIAL, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("operation", KEY, nullable=False),
        sa.Column("request_id", KEY, nullable=False),
        sa.Column("account_id", KEY, nullable=True),
        sa.Column("region", KEY, nullable=True),
        sa.Column("what", KEY, nullable=False),
        sa.Column("subject", KEY, nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_subject", "audit", ["account_id", "what", "subject"], unique=False)
    op.create_table(
        "changes",
        sa.Column("sequence", SERIAL, nullable=False),
        sa.Column("kind", KEY, nullable=False),
        sa.Column("account_id", KEY, nullable=True),
        sa.Column("region", KEY, nullable=True),
        sa.Column("subject", KEY, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_changes")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "settings",
        sa.Column("name", KEY, nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_settings")),
    )
    op.create_table(
        "access_keys",
        sa.Column("access_key_id", KEY, nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("account_id", KEY, nullable=True),
        sa.Column("creation_date", INSTANT, nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_access_keys_accounts")),
        sa.PrimaryKeyConstraint("access_key_id", name=op.f("pk_access_keys")),
    )
    op.create_index("ix_access_keys_account_id", "access_keys", ["account_id"], unique=False)
    op.create_table(
        "certificates",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("region", KEY, nullable=False),
        sa.Column("certificate_id", KEY, nullable=False),
        sa.Column("pem", sa.Text(), nullable=False),
        sa.Column("status", KEY, nullable=False),
        sa.Column("mode", KEY, nullable=False),
        sa.Column("creation_date", INSTANT, nullable=False),
        sa.Column("last_modified_date", INSTANT, nullable=False),
        sa.Column("not_before", INSTANT, nullable=False),
        sa.Column("not_after", INSTANT, nullable=False),
        sa.Column("generation_id", sa.Text(), nullable=False),
        sa.Column("customer_version", sa.Integer(), nullable=False),
        sa.Column("ca_certificate_id", KEY, nullable=True),
        sa.Column("previous_owned_by", KEY, nullable=True),
        sa.Column("transfer_message", sa.Text(), nullable=True),
        sa.Column("reject_reason", sa.Text(), nullable=True),
        sa.Column("transfer_date", INSTANT, nullable=True),
        sa.Column("accept_date", INSTANT, nullable=True),
        sa.Column("reject_date", INSTANT, nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_certificates_accounts")),
        sa.PrimaryKeyConstraint("account_id", "region", "certificate_id", name=op.f("pk_certificates")),
    )
    op.create_index(
        "ix_certificates_listing",
        "certificates",
        ["account_id", "region", "creation_date", "certificate_id"],
        unique=False,
    )
    op.create_index(
        "uq_certificates_default_registration",
        "certificates",
        ["region", "certificate_id"],
        unique=True,
        sqlite_where=sa.text("mode = 'DEFAULT'"),
        postgresql_where=sa.text("mode = 'DEFAULT'"),
    )
    op.create_table(
        "endpoints",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("region", KEY, nullable=False),
        sa.Column("prefix", KEY, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_endpoints_accounts")),
        sa.PrimaryKeyConstraint("account_id", "region", name=op.f("pk_endpoints")),
        sa.UniqueConstraint("prefix", name=op.f("uq_endpoints_prefix")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "policies",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("region", KEY, nullable=False),
        sa.Column("policy_name", KEY, nullable=False),
        sa.Column("default_version", sa.Integer(), nullable=False),
        sa.Column("last_version", sa.Integer(), nullable=False),
        sa.Column("creation_date", INSTANT, nullable=False),
        sa.Column("last_modified_date", INSTANT, nullable=False),
        sa.Column("generation_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_policies_accounts")),
        sa.PrimaryKeyConstraint("account_id", "region", "policy_name", name=op.f("pk_policies")),
    )
    op.create_index(
        "ix_policies_listing", "policies", ["account_id", "region", "creation_date", "policy_name"], unique=False
    )
    op.create_table(
        "things",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("region", KEY, nullable=False),
        sa.Column("thing_name", KEY, nullable=False),
        sa.Column("thing_id", KEY, nullable=False),
        sa.Column("thing_type_name", KEY, nullable=True),
        sa.Column("attributes", sa.Text(), nullable=False),
        sa.Column("billing_group_name", KEY, nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("creation_date", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_things_accounts")),
        sa.PrimaryKeyConstraint("account_id", "region", "thing_name", name=op.f("pk_things")),
    )
    op.create_table(
        "certificate_policies",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("region", KEY, nullable=False),
        sa.Column("certificate_id", KEY, nullable=False),
        sa.Column("policy_name", KEY, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id", "region", "certificate_id"],
            ["certificates.account_id", "certificates.region", "certificates.certificate_id"],
            name=op.f("fk_certificate_policies_certificates"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id", "region", "policy_name"],
            ["policies.account_id", "policies.region", "policies.policy_name"],
            name=op.f("fk_certificate_policies_policies"),
        ),
        sa.PrimaryKeyConstraint(
            "account_id", "region", "certificate_id", "policy_name", name=op.f("pk_certificate_policies")
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_certificate_policies_policy",
        "certificate_policies",
        ["account_id", "region", "policy_name", "certificate_id"],
        unique=False,
    )
    op.create_table(
        "policy_versions",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("region", KEY, nullable=False),
        sa.Column("policy_name", KEY, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("creation_date", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id", "region", "policy_name"],
            ["policies.account_id", "policies.region", "policies.policy_name"],
            name=op.f("fk_policy_versions_policies"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("account_id", "region", "policy_name", "version", name=op.f("pk_policy_versions")),
    )
    op.create_table(
        "thing_attributes",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("region", KEY, nullable=False),
        sa.Column("thing_name", KEY, nullable=False),
        sa.Column("name", KEY, nullable=False),
        sa.Column("value", KEY, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id", "region", "thing_name"],
            ["things.account_id", "things.region", "things.thing_name"],
            name=op.f("fk_thing_attributes_things"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("account_id", "region", "thing_name", "name", name=op.f("pk_thing_attributes")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_thing_attributes_search",
        "thing_attributes",
        ["account_id", "region", "name", "value", "thing_name"],
        unique=False,
    )
    op.create_table(
        "thing_principals",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("region", KEY, nullable=False),
        sa.Column("certificate_id", KEY, nullable=False),
        sa.Column("thing_name", KEY, nullable=False),
        sa.Column("thing_principal_type", KEY, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id", "region", "certificate_id"],
            ["certificates.account_id", "certificates.region", "certificates.certificate_id"],
            name=op.f("fk_thing_principals_certificates"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id", "region", "thing_name"],
            ["things.account_id", "things.region", "things.thing_name"],
            name=op.f("fk_thing_principals_things"),
        ),
        sa.PrimaryKeyConstraint(
            "account_id", "region", "certificate_id", "thing_name", name=op.f("pk_thing_principals")
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_thing_principals_thing",
        "thing_principals",
        ["account_id", "region", "thing_name", "certificate_id"],
        unique=False,
    )
    op.create_index(
        "uq_thing_principals_exclusive",
        "thing_principals",
        ["account_id", "region", "certificate_id"],
        unique=True,
        sqlite_where=sa.text("thing_principal_type = 'EXCLUSIVE_THING'"),
        postgresql_where=sa.text("thing_principal_type = 'EXCLUSIVE_THING'"),
    )

    if op.get_bind().dialect.name == "sqlite":
        for event in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_append_only_{event.lower()} BEFORE {event} ON audit "
                "BEGIN SELECT RAISE(ABORT, 'the audit table is append-only'); END"
            )
