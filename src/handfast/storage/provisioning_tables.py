"""The tables of provisioning: templates, hooks, providers, claims, tokens, tasks and runs (see `tables`)."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, ForeignKeyConstraint, Index, Integer, Table, Text, text

from handfast.storage.columns import Instant, Key, Serial, metadata

certificate_providers = Table(
    "certificate_providers",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.account_id"), primary_key=True),
    Column("region", Key, primary_key=True),  # the key is the scope: it has one
    Column("name", Key, nullable=False),
    Column("function_arn", Text, nullable=False),
    Column("request_digest", Key, nullable=True),
    Column("creation_date", Instant, nullable=False),
    Column("last_modified_date", Instant, nullable=False),
    sqlite_with_rowid=False,
)

provisioning_claims = Table(  # principals that are no certificates of the registry
    "provisioning_claims",
    metadata,
    Column("account_id", Key, primary_key=True),
    Column("region", Key, primary_key=True),
    Column("certificate_id", Key, primary_key=True),
    Column("template_name", Key, nullable=False),
    Column("pem", Text, nullable=False),
    Column("not_before", Instant, nullable=False),
    Column("not_after", Instant, nullable=False),
    Column("creation_date", Instant, nullable=False),
    ForeignKeyConstraint(
        ["account_id", "region", "template_name"],
        [
            "provisioning_templates.account_id",
            "provisioning_templates.region",
            "provisioning_templates.template_name",
        ],
    ),
    Index("ix_provisioning_claims_certificate", "certificate_id"),
    Index("ix_provisioning_claims_not_after", "not_after"),
    Index("ix_provisioning_claims_template", "account_id", "region", "template_name"),
)

hooks = Table(
    "hooks",
    metadata,
    Column("name", Key, primary_key=True),
    Column("url", Text, nullable=False),
    Column("secret", Text, nullable=False),  # as storage.secretbox seals it
    Column("ca_pem", Text, nullable=True),
    Column("accounts", Text, nullable=False),  # JSON array; empty: for all
    Column("timeout_ms", Integer, nullable=False),
    Column("creation_date", Instant, nullable=False),
)

provisioning_templates = Table(
    "provisioning_templates",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.account_id"), primary_key=True),
    Column("region", Key, primary_key=True),
    Column("template_name", Key, primary_key=True),
    Column("type", Key, nullable=False),
    Column("description", Text, nullable=True),
    Column("enabled", Boolean(create_constraint=False), nullable=False),
    Column("role_arn", Text, nullable=False),
    Column("hook_payload_version", Key, nullable=True),  # both of the hook, or neither
    Column("hook_target_arn", Text, nullable=True),
    Column("default_version", Integer, nullable=False),
    Column("last_version", Integer, nullable=False),  # version ids are never reused
    Column("creation_date", Instant, nullable=False),
    Column("last_modified_date", Instant, nullable=False),
)

provisioning_template_versions = Table(
    "provisioning_template_versions",
    metadata,
    Column("account_id", Key, primary_key=True),
    Column("region", Key, primary_key=True),
    Column("template_name", Key, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("body", Text, nullable=False),
    Column("creation_date", Instant, nullable=False),
    ForeignKeyConstraint(
        ["account_id", "region", "template_name"],
        [
            "provisioning_templates.account_id",
            "provisioning_templates.region",
            "provisioning_templates.template_name",
        ],
        ondelete="CASCADE",
    ),
)

registration_configs = Table(  # of CA certificates; one that is not here has none
    "registration_configs",
    metadata,
    Column("account_id", Key, primary_key=True),
    Column("region", Key, primary_key=True),
    Column("certificate_id", Key, primary_key=True),
    Column("template_name", Key, nullable=True),  # this or template_body
    Column("template_body", Text, nullable=True),
    Column("role_arn", Text, nullable=True),
    ForeignKeyConstraint(
        ["account_id", "region", "certificate_id"],
        ["ca_certificates.account_id", "ca_certificates.region", "ca_certificates.certificate_id"],
        ondelete="CASCADE",
    ),
    # A template that a CA provisions by cannot go.
    ForeignKeyConstraint(
        ["account_id", "region", "template_name"],
        [
            "provisioning_templates.account_id",
            "provisioning_templates.region",
            "provisioning_templates.template_name",
        ],
    ),
    Index(
        "ix_registration_configs_template",
        "account_id",
        "region",
        "template_name",
        "certificate_id",
        sqlite_where=text("template_name IS NOT NULL"),
        postgresql_where=text("template_name IS NOT NULL"),
    ),
)

ownership_tokens = Table(  # of certificates that fleet provisioning made, until they would have expired
    "ownership_tokens",
    metadata,
    Column("account_id", Key, primary_key=True),
    Column("region", Key, primary_key=True),
    Column("certificate_id", Key, primary_key=True),
    Column("claim_certificate_id", Key, nullable=False),
    Column("digest", Key, nullable=False),  # core.provisioning.fleet.OwnershipToken.digest
    Column("expires_at", Instant, nullable=False),
    Column("spent_at", Instant, nullable=True),
    Index("ix_ownership_tokens_expires_at", "expires_at"),
    sqlite_with_rowid=False,
)

claims = Table(  # certificates with which devices have provisioned themselves, or that have limits for it
    "claims",
    metadata,
    Column("account_id", Key, primary_key=True),
    Column("region", Key, primary_key=True),
    Column("certificate_id", Key, primary_key=True),
    Column("provisioned", BigInteger, nullable=False),
    Column("devices", BigInteger, nullable=True),
    Column("per_minute", BigInteger, nullable=True),
    Column("addresses", Text, nullable=False),  # JSON list of networks
    sqlite_with_rowid=False,
)

thing_registration_tasks = Table(
    "thing_registration_tasks",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.account_id"), primary_key=True),
    Column("region", Key, primary_key=True),
    Column("task_id", Key, primary_key=True),
    Column("template_body", Text, nullable=False),
    Column("bucket", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("role_arn", Text, nullable=False),
    Column("status", Key, nullable=False),
    Column("message", Text, nullable=True),
    Column("success_count", BigInteger, nullable=False),
    Column("failure_count", BigInteger, nullable=False),
    Column("line", BigInteger, nullable=False),  # how many are done
    Column("offset", BigInteger, nullable=False),  # bytes that are done
    Column("size", BigInteger, nullable=True),
    Column("input_version", Text, nullable=True),
    Column("outcome", Text, nullable=True),  # JSON: of the last line that was done
    Column("creation_date", Instant, nullable=False),
    Column("last_modified_date", Instant, nullable=False),
    # One task of a scope at a time.
    Index(
        "uq_thing_registration_tasks_open",
        "account_id",
        "region",
        unique=True,
        sqlite_where=text("status IN ('InProgress', 'Cancelling')"),
        postgresql_where=text("status IN ('InProgress', 'Cancelling')"),
    ),
    Index("ix_thing_registration_tasks_listing", "account_id", "region", "creation_date", "task_id"),
)

provisioning_runs = Table(  # bounded: storage.provisioning_runs prunes
    "provisioning_runs",
    metadata,
    Column("sequence", Serial, primary_key=True),
    Column("account_id", Key, nullable=False),
    Column("region", Key, nullable=False),
    Column("run_id", Key, nullable=False),
    Column("at", Instant, nullable=False),
    Column("certificate_id", Key, nullable=False),
    Column("ca_certificate_id", Key, nullable=False),
    Column("template_name", Key, nullable=True),
    Column("template_version", BigInteger, nullable=True),
    Column("outcome", Key, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("thing_name", Key, nullable=True),
    Column("resource", Text, nullable=False),
    Column("kind", Key, nullable=True),
    Column("message", Text, nullable=False),
    Index("uq_provisioning_runs_run", "account_id", "region", "run_id", unique=True),
    Index("ix_provisioning_runs_listing", "account_id", "region", "at", "run_id"),
    Index("ix_provisioning_runs_outcome", "account_id", "region", "outcome", "at", "run_id"),
    Index("ix_provisioning_runs_certificate", "account_id", "region", "certificate_id", "sequence"),
)
