"""
The registry's tables.

Every resource row begins with its scope (account_id, region), which is part of
every primary key, foreign key and query: no statement can reach across accounts
by leaving it out. Foreign keys restrict, so the preconditions of deletion hold
even where a check before the statement would race.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


def to_microseconds(instant: dt.datetime) -> int:
    """Whole microseconds since the epoch, exact (no float on the way)."""
    return (instant - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> dt.datetime:
    """The aware UTC instant."""
    return _EPOCH + dt.timedelta(microseconds=microseconds)


class Instant(TypeDecorator[dt.datetime]):
    """An aware UTC instant, stored as microseconds since the epoch: the same in every engine, ordered as a number."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else to_microseconds(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> dt.datetime | None:
        return None if value is None else from_microseconds(value)


# Names and ids compare bytewise. SQLite does so by itself (BINARY); PostgreSQL needs to be told.
Key = String().with_variant(String(collation="C"), "postgresql")
# BIGINT keys do not autoincrement on SQLite.
Serial = BigInteger().with_variant(Integer, "sqlite")

# Small rows found by their whole key stand in the key's own tree (sqlite_with_rowid=False): one search instead of two.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

settings = Table(
    "settings",
    metadata,
    Column("name", Key, primary_key=True),
    Column("value", Text, nullable=False),
)

accounts = Table(
    "accounts",
    metadata,
    Column("account_id", Key, primary_key=True),
    Column("name", Text, nullable=False),
    Column("status", Key, nullable=False),
    Column("creation_date", Instant, nullable=False),
    Column("position", Integer, nullable=False),  # order of creation, whatever the clock said
    sqlite_with_rowid=False,
)

access_keys = Table(
    "access_keys",
    metadata,
    Column("access_key_id", Key, primary_key=True),
    Column("secret", Text, nullable=False),  # as storage.secretbox seals it
    Column("account_id", Key, ForeignKey("accounts.account_id"), nullable=True),  # NULL: the operator's
    Column("creation_date", Instant, nullable=False),
    Column("active", Boolean(create_constraint=False), nullable=False),
    Index("ix_access_keys_account_id", "account_id"),
)

endpoints = Table(
    "endpoints",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.account_id"), primary_key=True),
    Column("region", Key, primary_key=True),
    Column("prefix", Key, nullable=False, unique=True),
    sqlite_with_rowid=False,
)

certificates = Table(
    "certificates",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.account_id"), primary_key=True),
    Column("region", Key, primary_key=True),
    Column("certificate_id", Key, primary_key=True),
    Column("pem", Text, nullable=False),
    Column("status", Key, nullable=False),
    Column("mode", Key, nullable=False),
    Column("creation_date", Instant, nullable=False),
    Column("last_modified_date", Instant, nullable=False),
    Column("not_before", Instant, nullable=False),
    Column("not_after", Instant, nullable=False),
    Column("generation_id", Text, nullable=False),
    Column("customer_version", Integer, nullable=False),
    Column("ca_certificate_id", Key, nullable=True),
    Column("previous_owned_by", Key, nullable=True),
    Column("transfer_message", Text, nullable=True),
    Column("reject_reason", Text, nullable=True),
    Column("transfer_date", Instant, nullable=True),
    Column("accept_date", Instant, nullable=True),
    Column("reject_date", Instant, nullable=True),
    Column("transfer_target", Key, nullable=True),  # whom it was last offered to
    Index("ix_certificates_listing", "account_id", "region", "creation_date", "certificate_id"),
    # Status before instant: what expires next among those asked for is one range, however many others there are.
    Index("ix_certificates_expiry", "account_id", "region", "status", "not_after", "certificate_id"),
    # How many expire when, over all accounts; with the status in it, SQLite counts without looking at the rows.
    Index(
        "ix_certificates_active_expiry",
        "not_after",
        "status",
        sqlite_where=text("status = 'ACTIVE'"),
        postgresql_where=text("status = 'ACTIVE'"),
    ),
    # A leaf presented without SNI can only match a DEFAULT registration, so there is at most one per region.
    Index(
        "uq_certificates_default_registration",
        "region",
        "certificate_id",
        unique=True,
        sqlite_where=text("mode = 'DEFAULT'"),
        postgresql_where=text("mode = 'DEFAULT'"),
    ),
    # What an account is offered; one offer of a certificate at a time, or accepting would be ambiguous.
    Index(
        "uq_certificates_offer",
        "transfer_target",
        "region",
        "certificate_id",
        unique=True,
        sqlite_where=text("status = 'PENDING_TRANSFER'"),
        postgresql_where=text("status = 'PENDING_TRANSFER'"),
    ),
    Index(
        "ix_certificates_outgoing",
        "account_id",
        "region",
        "creation_date",
        "certificate_id",
        sqlite_where=text("status = 'PENDING_TRANSFER'"),
        postgresql_where=text("status = 'PENDING_TRANSFER'"),
    ),
    Index(
        "ix_certificates_by_ca",
        "account_id",
        "region",
        "ca_certificate_id",
        "creation_date",
        "certificate_id",
        sqlite_where=text("ca_certificate_id IS NOT NULL"),
        postgresql_where=text("ca_certificate_id IS NOT NULL"),
    ),
)

ca_certificates = Table(
    "ca_certificates",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.account_id"), primary_key=True),
    Column("region", Key, primary_key=True),
    Column("certificate_id", Key, primary_key=True),
    Column("pem", Text, nullable=False),
    Column("subject", Key, nullable=False),  # digest of the subject's DER
    Column("status", Key, nullable=False),
    Column("auto_registration_status", Key, nullable=False),
    Column("mode", Key, nullable=False),
    Column("creation_date", Instant, nullable=False),
    Column("last_modified_date", Instant, nullable=False),
    Column("not_before", Instant, nullable=False),
    Column("not_after", Instant, nullable=False),
    Column("generation_id", Text, nullable=False),
    Column("customer_version", Integer, nullable=False),
    Index("ix_ca_certificates_listing", "account_id", "region", "creation_date", "certificate_id"),
    Index("ix_ca_certificates_expiry", "account_id", "region", "status", "not_after", "certificate_id"),
    Index(
        "ix_ca_certificates_active_expiry",
        "not_after",
        "status",
        sqlite_where=text("status = 'ACTIVE'"),
        postgresql_where=text("status = 'ACTIVE'"),
    ),
    Index("ix_ca_certificates_subject", "account_id", "region", "subject"),
    # One account owns a DEFAULT CA, as one owns a DEFAULT leaf.
    Index(
        "uq_ca_certificates_default_registration",
        "region",
        "certificate_id",
        unique=True,
        sqlite_where=text("mode = 'DEFAULT'"),
        postgresql_where=text("mode = 'DEFAULT'"),
    ),
)

registration_codes = Table(
    "registration_codes",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.account_id"), primary_key=True),
    Column("region", Key, primary_key=True),
    Column("code", Key, nullable=False),
    Column("creation_date", Instant, nullable=False),
    sqlite_with_rowid=False,
)

tombstones = Table(  # certificates that are gone and may not come back by themselves
    "tombstones",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.account_id"), primary_key=True),
    Column("region", Key, primary_key=True),
    Column("certificate_id", Key, primary_key=True),
    Column("reason", Key, nullable=False),
    Column("creation_date", Instant, nullable=False),
    sqlite_with_rowid=False,
)

rotations = Table(  # what was made for what; the history stays when certificates go
    "rotations",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.account_id"), primary_key=True),
    Column("region", Key, primary_key=True),
    Column("successor_id", Key, primary_key=True),
    Column("certificate_id", Key, nullable=False),
    Column("state", Key, nullable=False),
    Column("retire_action", Key, nullable=False),
    Column("on_deadline", Key, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("deadline", Instant, nullable=False),
    Column("ended_at", Instant, nullable=True),
    Column("ended_by", Key, nullable=True),
    # A certificate has one successor at a time.
    Index(
        "uq_rotations_waiting",
        "account_id",
        "region",
        "certificate_id",
        unique=True,
        sqlite_where=text("state = 'WAITING'"),
        postgresql_where=text("state = 'WAITING'"),
    ),
    Index(
        "ix_rotations_deadline",
        "deadline",
        sqlite_where=text("state = 'WAITING'"),
        postgresql_where=text("state = 'WAITING'"),
    ),
    Index("ix_rotations_certificate", "account_id", "region", "certificate_id", "started_at"),
    Index("ix_rotations_listing", "account_id", "region", "started_at", "successor_id"),
)

things = Table(
    "things",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.account_id"), primary_key=True),
    Column("region", Key, primary_key=True),
    Column("thing_name", Key, primary_key=True),
    Column("thing_id", Key, nullable=False),
    Column("thing_type_name", Key, nullable=True),
    Column("attributes", Text, nullable=False),  # one JSON object, the truth
    Column("billing_group_name", Key, nullable=True),
    Column("version", BigInteger, nullable=False),
    Column("creation_date", Instant, nullable=False),
    Index(
        "ix_things_type",
        "account_id",
        "region",
        "thing_type_name",
        "thing_name",
        sqlite_where=text("thing_type_name IS NOT NULL"),
        postgresql_where=text("thing_type_name IS NOT NULL"),
    ),
    Index(
        "ix_things_billing_group",
        "account_id",
        "region",
        "billing_group_name",
        "thing_name",
        sqlite_where=text("billing_group_name IS NOT NULL"),
        postgresql_where=text("billing_group_name IS NOT NULL"),
    ),
)

thing_types = Table(
    "thing_types",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.account_id"), primary_key=True),
    Column("region", Key, primary_key=True),
    Column("thing_type_name", Key, primary_key=True),
    Column("thing_type_id", Key, nullable=False),
    Column("description", Text, nullable=True),
    Column("searchable_attributes", Text, nullable=True),  # a JSON list of names
    Column("propagating_attributes", Text, nullable=True),  # a JSON list of lists of three
    Column("creation_date", Instant, nullable=False),
    Column("deprecation_date", Instant, nullable=True),
)

billing_groups = Table(
    "billing_groups",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.account_id"), primary_key=True),
    Column("region", Key, primary_key=True),
    Column("billing_group_name", Key, primary_key=True),
    Column("billing_group_id", Key, nullable=False),
    Column("description", Text, nullable=True),
    Column("version", BigInteger, nullable=False),
    Column("creation_date", Instant, nullable=False),
)

tags = Table(
    "tags",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.account_id"), primary_key=True),
    Column("region", Key, primary_key=True),
    Column("kind", Key, primary_key=True),  # as the ARN says it: policy, cacert …
    Column("name", Key, primary_key=True),
    Column("key", Key, primary_key=True),
    Column("value", Text, nullable=False),
    sqlite_with_rowid=False,
)

event_configurations = Table(
    "event_configurations",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.account_id"), primary_key=True),
    Column("region", Key, primary_key=True),
    Column("enabled", Text, nullable=False),  # a JSON list of event types
    Column("creation_date", Instant, nullable=False),
    Column("last_modified_date", Instant, nullable=False),
    sqlite_with_rowid=False,
)

thing_attributes = Table(  # the same once more, for ListThings by attribute
    "thing_attributes",
    metadata,
    Column("account_id", Key, primary_key=True),
    Column("region", Key, primary_key=True),
    Column("thing_name", Key, primary_key=True),
    Column("name", Key, primary_key=True),
    Column("value", Key, nullable=False),
    ForeignKeyConstraint(
        ["account_id", "region", "thing_name"],
        ["things.account_id", "things.region", "things.thing_name"],
        ondelete="CASCADE",
    ),
    Index("ix_thing_attributes_search", "account_id", "region", "name", "value", "thing_name"),
    sqlite_with_rowid=False,
)

thing_principals = Table(
    "thing_principals",
    metadata,
    Column("account_id", Key, primary_key=True),
    Column("region", Key, primary_key=True),
    Column("certificate_id", Key, primary_key=True),
    Column("thing_name", Key, primary_key=True),
    Column("thing_principal_type", Key, nullable=False),
    ForeignKeyConstraint(
        ["account_id", "region", "certificate_id"],
        ["certificates.account_id", "certificates.region", "certificates.certificate_id"],
    ),
    ForeignKeyConstraint(
        ["account_id", "region", "thing_name"], ["things.account_id", "things.region", "things.thing_name"]
    ),
    Index("ix_thing_principals_thing", "account_id", "region", "thing_name", "certificate_id"),
    # An exclusively held principal serves one thing and no other.
    Index(
        "uq_thing_principals_exclusive",
        "account_id",
        "region",
        "certificate_id",
        unique=True,
        sqlite_where=text("thing_principal_type = 'EXCLUSIVE_THING'"),
        postgresql_where=text("thing_principal_type = 'EXCLUSIVE_THING'"),
    ),
    sqlite_with_rowid=False,
)

policies = Table(
    "policies",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.account_id"), primary_key=True),
    Column("region", Key, primary_key=True),
    Column("policy_name", Key, primary_key=True),
    Column("default_version", Integer, nullable=False),
    Column("last_version", Integer, nullable=False),  # version ids are never reused
    Column("creation_date", Instant, nullable=False),
    Column("last_modified_date", Instant, nullable=False),
    Column("generation_id", Text, nullable=False),
    Index("ix_policies_listing", "account_id", "region", "creation_date", "policy_name"),
)

policy_versions = Table(
    "policy_versions",
    metadata,
    Column("account_id", Key, primary_key=True),
    Column("region", Key, primary_key=True),
    Column("policy_name", Key, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("document", Text, nullable=False),
    Column("creation_date", Instant, nullable=False),
    ForeignKeyConstraint(
        ["account_id", "region", "policy_name"],
        ["policies.account_id", "policies.region", "policies.policy_name"],
        ondelete="CASCADE",
    ),
)

certificate_policies = Table(
    "certificate_policies",
    metadata,
    Column("account_id", Key, primary_key=True),
    Column("region", Key, primary_key=True),
    Column("certificate_id", Key, primary_key=True),
    Column("policy_name", Key, primary_key=True),
    ForeignKeyConstraint(
        ["account_id", "region", "certificate_id"],
        ["certificates.account_id", "certificates.region", "certificates.certificate_id"],
    ),
    ForeignKeyConstraint(
        ["account_id", "region", "policy_name"], ["policies.account_id", "policies.region", "policies.policy_name"]
    ),
    Index("ix_certificate_policies_policy", "account_id", "region", "policy_name", "certificate_id"),
    sqlite_with_rowid=False,
)

thing_groups = Table(
    "thing_groups",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.account_id"), primary_key=True),
    Column("region", Key, primary_key=True),
    Column("group_name", Key, primary_key=True),
    Column("group_id", Key, nullable=False),
    Column("parent_name", Key, nullable=True),  # for good: a group never moves
    Column("description", Text, nullable=True),
    Column("attributes", Text, nullable=False),  # one JSON object
    Column("version", BigInteger, nullable=False),
    Column("creation_date", Instant, nullable=False),
    ForeignKeyConstraint(
        ["account_id", "region", "parent_name"],
        ["thing_groups.account_id", "thing_groups.region", "thing_groups.group_name"],
    ),
    Index("ix_thing_groups_parent", "account_id", "region", "parent_name", "group_name"),
)

thing_group_ancestors = Table(  # every group with itself (distance 0), its parent (1) and so on to the root
    "thing_group_ancestors",
    metadata,
    Column("account_id", Key, primary_key=True),
    Column("region", Key, primary_key=True),
    Column("group_name", Key, primary_key=True),
    Column("ancestor_name", Key, primary_key=True),
    Column("distance", Integer, nullable=False),
    ForeignKeyConstraint(
        ["account_id", "region", "group_name"],
        ["thing_groups.account_id", "thing_groups.region", "thing_groups.group_name"],
        name="fk_thing_group_ancestors_group",
    ),
    ForeignKeyConstraint(
        ["account_id", "region", "ancestor_name"],
        ["thing_groups.account_id", "thing_groups.region", "thing_groups.group_name"],
        name="fk_thing_group_ancestors_ancestor",
    ),
    Index("ix_thing_group_ancestors_ancestor", "account_id", "region", "ancestor_name", "group_name"),
    sqlite_with_rowid=False,
)

thing_group_members = Table(
    "thing_group_members",
    metadata,
    Column("account_id", Key, primary_key=True),
    Column("region", Key, primary_key=True),
    Column("thing_name", Key, primary_key=True),
    Column("group_name", Key, primary_key=True),
    Column("root_name", Key, nullable=False),  # of the group's hierarchy
    ForeignKeyConstraint(
        ["account_id", "region", "thing_name"], ["things.account_id", "things.region", "things.thing_name"]
    ),
    ForeignKeyConstraint(
        ["account_id", "region", "group_name"],
        ["thing_groups.account_id", "thing_groups.region", "thing_groups.group_name"],
    ),
    # A thing is in one group of a hierarchy at most.
    Index("uq_thing_group_members_hierarchy", "account_id", "region", "thing_name", "root_name", unique=True),
    Index("ix_thing_group_members_group", "account_id", "region", "group_name", "thing_name"),
    sqlite_with_rowid=False,
)

thing_group_policies = Table(
    "thing_group_policies",
    metadata,
    Column("account_id", Key, primary_key=True),
    Column("region", Key, primary_key=True),
    Column("group_name", Key, primary_key=True),
    Column("policy_name", Key, primary_key=True),
    ForeignKeyConstraint(
        ["account_id", "region", "group_name"],
        ["thing_groups.account_id", "thing_groups.region", "thing_groups.group_name"],
    ),
    ForeignKeyConstraint(
        ["account_id", "region", "policy_name"], ["policies.account_id", "policies.region", "policies.policy_name"]
    ),
    Index("ix_thing_group_policies_policy", "account_id", "region", "policy_name", "group_name"),
    sqlite_with_rowid=False,
)

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

audit = Table(  # append-only: triggers refuse UPDATE and DELETE
    "audit",  # the columns from `at` to `after` in the order of core.identity.audit_chain.AuditFields
    metadata,
    Column("sequence", Serial, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("actor", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("operation", Key, nullable=False),
    Column("request_id", Key, nullable=False),
    Column("account_id", Key, nullable=True),
    Column("region", Key, nullable=True),
    Column("what", Key, nullable=False),  # kind of resource: certificate, thing, policy …
    Column("subject", Key, nullable=False),
    Column("before", Text, nullable=True),  # JSON objects; never a secret, never a key
    Column("after", Text, nullable=True),
    Column("number", BigInteger, nullable=False),  # 1, 2, 3 … in the chain of the account
    Column("link", Key, nullable=False),  # of the hash chain, in hexadecimal digits
    Index("ix_audit_subject", "subject", "account_id"),
    Index("uq_audit_number", "account_id", "number", unique=True),
    # NULL differs from NULL: the operator's chain needs an index of its own.
    Index(
        "uq_audit_operator_number",
        "number",
        unique=True,
        sqlite_where=text("account_id IS NULL"),
        postgresql_where=text("account_id IS NULL"),
    ),
    sqlite_autoincrement=True,
)

audit_heads = Table(  # the last row of each chain, so that appending does not search for it
    "audit_heads",
    metadata,
    Column("chain", Key, primary_key=True),  # account id, or core.identity.audit_chain.OPERATOR
    Column("number", BigInteger, nullable=False),
    Column("link", Key, nullable=False),
    sqlite_with_rowid=False,
)

changes = Table(
    "changes",
    metadata,
    Column("sequence", Serial, primary_key=True),
    Column("kind", Key, nullable=False),
    Column("account_id", Key, nullable=True),
    Column("region", Key, nullable=True),
    Column("subject", Key, nullable=False),
    sqlite_autoincrement=True,  # sequence numbers must not come back after the oldest rows are pruned
)
