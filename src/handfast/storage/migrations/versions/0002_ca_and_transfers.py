"""CA certificates, registration codes, transfers between accounts, tombstones of revoked certificates."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")
INSTANT = sa.BigInteger()
PENDING = sa.text("status = 'PENDING_TRANSFER'")
OF_A_CA = sa.text("ca_certificate_id IS NOT NULL")
DEFAULT_MODE = sa.text("mode = 'DEFAULT'")


def upgrade() -> None:
    op.add_column("certificates", sa.Column("transfer_target", KEY, nullable=True))
    op.create_index(
        "uq_certificates_offer",
        "certificates",
        ["transfer_target", "region", "certificate_id"],
        unique=True,
        sqlite_where=PENDING,
        postgresql_where=PENDING,
    )
    op.create_index(
        "ix_certificates_outgoing",
        "certificates",
        ["account_id", "region", "creation_date", "certificate_id"],
        unique=False,
        sqlite_where=PENDING,
        postgresql_where=PENDING,
    )
    op.create_index(
        "ix_certificates_by_ca",
        "certificates",
        ["account_id", "region", "ca_certificate_id", "creation_date", "certificate_id"],
        unique=False,
        sqlite_where=OF_A_CA,
        postgresql_where=OF_A_CA,
    )
    op.create_table(
        "ca_certificates",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("region", KEY, nullable=False),
        sa.Column("certificate_id", KEY, nullable=False),
        sa.Column("pem", sa.Text(), nullable=False),
        sa.Column("subject", KEY, nullable=False),
        sa.Column("status", KEY, nullable=False),
        sa.Column("auto_registration_status", KEY, nullable=False),
        sa.Column("mode", KEY, nullable=False),
        sa.Column("creation_date", INSTANT, nullable=False),
        sa.Column("last_modified_date", INSTANT, nullable=False),
        sa.Column("not_before", INSTANT, nullable=False),
        sa.Column("not_after", INSTANT, nullable=False),
        sa.Column("generation_id", sa.Text(), nullable=False),
        sa.Column("customer_version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_ca_certificates_accounts")),
        sa.PrimaryKeyConstraint("account_id", "region", "certificate_id", name=op.f("pk_ca_certificates")),
    )
    op.create_index(
        "ix_ca_certificates_listing",
        "ca_certificates",
        ["account_id", "region", "creation_date", "certificate_id"],
        unique=False,
    )
    op.create_index("ix_ca_certificates_subject", "ca_certificates", ["account_id", "region", "subject"], unique=False)
    op.create_index(
        "uq_ca_certificates_default_registration",
        "ca_certificates",
        ["region", "certificate_id"],
        unique=True,
        sqlite_where=DEFAULT_MODE,
        postgresql_where=DEFAULT_MODE,
    )
    op.create_table(
        "registration_codes",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("region", KEY, nullable=False),
        sa.Column("code", KEY, nullable=False),
        sa.Column("creation_date", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_registration_codes_accounts")),
        sa.PrimaryKeyConstraint("account_id", "region", name=op.f("pk_registration_codes")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tombstones",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("region", KEY, nullable=False),
        sa.Column("certificate_id", KEY, nullable=False),
        sa.Column("reason", KEY, nullable=False),
        sa.Column("creation_date", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_tombstones_accounts")),
        sa.PrimaryKeyConstraint("account_id", "region", "certificate_id", name=op.f("pk_tombstones")),
        sqlite_with_rowid=False,
    )
