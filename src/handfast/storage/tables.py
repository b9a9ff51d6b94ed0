"""
The registry's tables.

Every resource row begins with its scope (account_id, region), which is part of
every primary key, foreign key and query: no statement can reach across accounts
by leaving it out. Foreign keys restrict, so the preconditions of deletion hold
even where a check before the statement would race.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, ForeignKeyConstraint, Index, Integer, Table, Text, text

from handfast.storage.columns import Instant as Instant
from handfast.storage.columns import Key as Key
from handfast.storage.columns import Serial as Serial
from handfast.storage.columns import from_microseconds as from_microseconds
from handfast.storage.columns import metadata as metadata
from handfast.storage.columns import to_microseconds as to_microseconds
from handfast.storage.domain_tables import domain_configurations as domain_configurations
from handfast.storage.domain_tables import server_certificates as server_certificates
from handfast.storage.provisioning_tables import certificate_providers as certificate_providers
from handfast.storage.provisioning_tables import claims as claims
from handfast.storage.provisioning_tables import hooks as hooks
from handfast.storage.provisioning_tables import ownership_tokens as ownership_tokens
from handfast.storage.provisioning_tables import provisioning_claims as provisioning_claims
from handfast.storage.provisioning_tables import provisioning_runs as provisioning_runs
from handfast.storage.provisioning_tables import provisioning_template_versions as provisioning_template_versions
from handfast.storage.provisioning_tables import provisioning_templates as provisioning_templates
from handfast.storage.provisioning_tables import registration_configs as registration_configs
from handfast.storage.provisioning_tables import thing_registration_tasks as thing_registration_tasks

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

revocations = Table(  # of certificates issued here, for the issuing CA's list; they stay when registrations go
    "revocations",
    metadata,
    Column("sequence", Serial, primary_key=True),
    Column("account_id", Key, nullable=False),
    Column("region", Key, nullable=False),
    Column("certificate_id", Key, nullable=False),
    Column("pem", Text, nullable=False),
    Column("revoked_at", Instant, nullable=False),
    Column("reason", Key, nullable=False),
    Index("uq_revocations_certificate", "account_id", "region", "certificate_id", unique=True),
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
