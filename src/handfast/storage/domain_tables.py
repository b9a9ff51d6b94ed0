"""The tables of domain configurations and of the server certificates that the operator imported."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, ForeignKeyConstraint, Index, Table, Text

from handfast.storage.columns import Instant, Key, metadata

server_certificates = Table(  # no private key: those are files
    "server_certificates",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.account_id"), primary_key=True),
    Column("region", Key, primary_key=True),
    Column("certificate_id", Key, primary_key=True),
    Column("name", Key, nullable=False),
    Column("chain_pem", Text, nullable=False),
    Column("key_name", Key, nullable=True),
    Column("health", Key, nullable=False),
    Column("detail", Text, nullable=False),
    Column("imported_at", Instant, nullable=False),
    Index("uq_server_certificates_name", "account_id", "region", "name", unique=True),
)

domain_configurations = Table(
    "domain_configurations",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.account_id"), primary_key=True),
    Column("region", Key, primary_key=True),
    Column("name", Key, primary_key=True),
    Column("resource", Key, nullable=False),  # as its ARN ends
    Column("suffix", Key, nullable=False),
    Column("domain_type", Key, nullable=False),
    Column("prefix", Key, nullable=True),  # AWS_MANAGED
    Column("domain_name", Key, nullable=True),  # CUSTOMER_MANAGED
    Column("status", Key, nullable=False),
    Column("status_changed_at", Instant, nullable=False),
    Column("security_policy", Key, nullable=True),
    Column("authentication_type", Key, nullable=False),
    Column("application_protocol", Key, nullable=False),
    Column("certificate_id", Key, nullable=True),
    Column("validation_certificate_id", Key, nullable=True),
    Column("ocsp", Boolean(create_constraint=False), nullable=False),
    Column("ocsp_responder_id", Key, nullable=True),
    # What a client names leads to one account, whoever comes first.
    Index("uq_domain_configurations_prefix", "prefix", unique=True),
    Index("uq_domain_configurations_domain_name", "domain_name", unique=True),
    Index("ix_domain_configurations_certificate", "account_id", "region", "certificate_id"),
    Index("ix_domain_configurations_validation", "account_id", "region", "validation_certificate_id"),
    Index("ix_domain_configurations_responder", "account_id", "region", "ocsp_responder_id"),
    # A certificate that is in use cannot go.
    ForeignKeyConstraint(
        ["account_id", "region", "certificate_id"],
        [
            "server_certificates.account_id",
            "server_certificates.region",
            "server_certificates.certificate_id",
        ],
        name="fk_domain_configurations_certificate",
    ),
    ForeignKeyConstraint(
        ["account_id", "region", "validation_certificate_id"],
        [
            "server_certificates.account_id",
            "server_certificates.region",
            "server_certificates.certificate_id",
        ],
        name="fk_domain_configurations_validation",
    ),
    ForeignKeyConstraint(
        ["account_id", "region", "ocsp_responder_id"],
        [
            "server_certificates.account_id",
            "server_certificates.region",
            "server_certificates.certificate_id",
        ],
        name="fk_domain_configurations_responder",
    ),
)
