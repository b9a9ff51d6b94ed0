"""Certificate providers, and the claims of CreateProvisioningClaim."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")
INSTANT = sa.BigInteger()


def upgrade() -> None:
    op.create_table(
        "certificate_providers",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("region", KEY, nullable=False),
        sa.Column("name", KEY, nullable=False),
        sa.Column("function_arn", sa.Text(), nullable=False),
        sa.Column("request_digest", KEY, nullable=True),
        sa.Column("creation_date", INSTANT, nullable=False),
        sa.Column("last_modified_date", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.account_id"], name=op.f("fk_certificate_providers_accounts")
        ),
        sa.PrimaryKeyConstraint("account_id", "region", name=op.f("pk_certificate_providers")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "provisioning_claims",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("region", KEY, nullable=False),
        sa.Column("certificate_id", KEY, nullable=False),
        sa.Column("template_name", KEY, nullable=False),
        sa.Column("pem", sa.Text(), nullable=False),
        sa.Column("not_before", INSTANT, nullable=False),
        sa.Column("not_after", INSTANT, nullable=False),
        sa.Column("creation_date", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id", "region", "template_name"],
            [
                "provisioning_templates.account_id",
                "provisioning_templates.region",
                "provisioning_templates.template_name",
            ],
            name=op.f("fk_provisioning_claims_provisioning_templates"),
        ),
        sa.PrimaryKeyConstraint("account_id", "region", "certificate_id", name=op.f("pk_provisioning_claims")),
    )
    op.create_index("ix_provisioning_claims_certificate", "provisioning_claims", ["certificate_id"], unique=False)
    op.create_index("ix_provisioning_claims_not_after", "provisioning_claims", ["not_after"], unique=False)
    op.create_index(
        "ix_provisioning_claims_template",
        "provisioning_claims",
        ["account_id", "region", "template_name"],
        unique=False,
    )
