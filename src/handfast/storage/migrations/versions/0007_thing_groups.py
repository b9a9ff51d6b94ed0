"""Static thing groups: their hierarchies, the things in them and the policies on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")
INSTANT = sa.BigInteger()
GROUPS = ["thing_groups.account_id", "thing_groups.region", "thing_groups.group_name"]


def upgrade() -> None:
    op.create_table(
        "thing_groups",
        *_keys("group_name"),
        sa.Column("group_id", KEY, nullable=False),
        sa.Column("parent_name", KEY, nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("attributes", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("creation_date", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_thing_groups_accounts")),
        _refers("parent_name", GROUPS, "fk_thing_groups_thing_groups"),
        _primary("thing_groups", "group_name"),
    )
    _index("ix_thing_groups_parent", "thing_groups", "parent_name", "group_name")
    op.create_table(
        "thing_group_ancestors",
        *_keys("group_name", "ancestor_name"),
        sa.Column("distance", sa.Integer(), nullable=False),
        _refers("group_name", GROUPS, "fk_thing_group_ancestors_group"),
        _refers("ancestor_name", GROUPS, "fk_thing_group_ancestors_ancestor"),
        _primary("thing_group_ancestors", "group_name", "ancestor_name"),
        sqlite_with_rowid=False,
    )
    _index("ix_thing_group_ancestors_ancestor", "thing_group_ancestors", "ancestor_name", "group_name")
    op.create_table(
        "thing_group_members",
        *_keys("thing_name", "group_name"),
        sa.Column("root_name", KEY, nullable=False),
        _refers(
            "thing_name",
            ["things.account_id", "things.region", "things.thing_name"],
            "fk_thing_group_members_things",
        ),
        _refers("group_name", GROUPS, "fk_thing_group_members_thing_groups"),
        _primary("thing_group_members", "thing_name", "group_name"),
        sqlite_with_rowid=False,
    )
    _index("uq_thing_group_members_hierarchy", "thing_group_members", "thing_name", "root_name", unique=True)
    _index("ix_thing_group_members_group", "thing_group_members", "group_name", "thing_name")
    op.create_table(
        "thing_group_policies",
        *_keys("group_name", "policy_name"),
        _refers("group_name", GROUPS, "fk_thing_group_policies_thing_groups"),
        _refers(
            "policy_name",
            ["policies.account_id", "policies.region", "policies.policy_name"],
            "fk_thing_group_policies_policies",
        ),
        _primary("thing_group_policies", "group_name", "policy_name"),
        sqlite_with_rowid=False,
    )
    _index("ix_thing_group_policies_policy", "thing_group_policies", "policy_name", "group_name")


def _keys(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, KEY, nullable=False) for name in ("account_id", "region", *names)]


def _refers(column: str, target: Sequence[str], name: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["account_id", "region", column], target, name=op.f(name))


def _primary(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint("account_id", "region", *columns, name=op.f(f"pk_{table}"))


def _index(name: str, table: str, *columns: str, unique: bool = False) -> None:
    op.create_index(name, table, ["account_id", "region", *columns], unique=unique)
