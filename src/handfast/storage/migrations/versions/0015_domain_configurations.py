"""Domain configurations, and the server certificates that are served for them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")
INSTANT = sa.BigInteger()


def upgrade() -> None:
    op.create_table(
        "server_certificates",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("region", KEY, nullable=False),
        sa.Column("certificate_id", KEY, nullable=False),
        sa.Column("name", KEY, nullable=False),
        sa.Column("chain_pem", sa.Text(), nullable=False),
        sa.Column("key_name", KEY, nullable=True),
        sa.Column("health", KEY, nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("imported_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_server_certificates_accounts")),
        sa.PrimaryKeyConstraint("account_id", "region", "certificate_id", name=op.f("pk_server_certificates")),
    )
    op.create_index("uq_server_certificates_name", "server_certificates", ["account_id", "region", "name"], unique=True)
    op.create_table(
        "domain_configurations",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("region", KEY, nullable=False),
        sa.Column("name", KEY, nullable=False),
        sa.Column("resource", KEY, nullable=False),
        sa.Column("suffix", KEY, nullable=False),
        sa.Column("domain_type", KEY, nullable=False),
        sa.Column("prefix", KEY, nullable=True),
        sa.Column("domain_name", KEY, nullable=True),
        sa.Column("status", KEY, nullable=False),
        sa.Column("status_changed_at", INSTANT, nullable=False),
        sa.Column("security_policy", KEY, nullable=True),
        sa.Column("authentication_type", KEY, nullable=False),
        sa.Column("application_protocol", KEY, nullable=False),
        sa.Column("certificate_id", KEY, nullable=True),
        sa.Column("validation_certificate_id", KEY, nullable=True),
        sa.Column("ocsp", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("ocsp_responder_id", KEY, nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.account_id"], name=op.f("fk_domain_configurations_accounts")
        ),
        _uses("certificate_id", "fk_domain_configurations_certificate"),
        _uses("validation_certificate_id", "fk_domain_configurations_validation"),
        _uses("ocsp_responder_id", "fk_domain_configurations_responder"),
        sa.PrimaryKeyConstraint("account_id", "region", "name", name=op.f("pk_domain_configurations")),
    )
    for name, columns, unique in (
        ("uq_domain_configurations_prefix", ["prefix"], True),
        ("uq_domain_configurations_domain_name", ["domain_name"], True),
        ("ix_domain_configurations_certificate", ["account_id", "region", "certificate_id"], False),
        ("ix_domain_configurations_validation", ["account_id", "region", "validation_certificate_id"], False),
        ("ix_domain_configurations_responder", ["account_id", "region", "ocsp_responder_id"], False),
    ):
        op.create_index(name, "domain_configurations", columns, unique=unique)


def _uses(column: str, name: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["account_id", "region", column],
        ["server_certificates.account_id", "server_certificates.region", "server_certificates.certificate_id"],
        name=op.f(name),
    )
