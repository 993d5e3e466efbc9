"""Queries become texts with values: once where they are prepared, by a cache where they are not."""

import sqlite3

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.dialects.sqlite import pysqlite

from pve402.storage import clock, statements, tables

SQLITE = pysqlite.dialect(dbapi=sqlite3, paramstyle="qmark")
POSTGRES = asyncpg.dialect()  # type: ignore[no-untyped-call]
leases = tables.leases


@pytest.fixture(params=[SQLITE, POSTGRES], ids=lambda dialect: dialect.name)
def compiler(request: pytest.FixtureRequest) -> statements.Compiler:
    """A compiler for either database."""
    return statements.Compiler(request.param)


def test_values_of_a_prepared_query_are_converted_both_ways() -> None:
    rates = sa.bindparam("rates", type_=leases.c.rates.type)
    prepared = statements.Prepared(leases.update().values(rates=rates).returning(leases.c.rates))
    text = prepared.text(SQLITE)

    bound = text.bind({"rates": {"base": "1"}})

    assert bound == ['{"base":"1"}']
    assert text.read([bound]) == [[{"base": "1"}]]


def test_what_stands_in_a_prepared_query_stays() -> None:
    standing = leases.c.status == "active"
    query = sa.select(leases.c.vmid).where(standing, leases.c.node == sa.bindparam("node"))

    text = statements.Prepared(query).text(POSTGRES)

    assert text.bind({"node": "pve"}) == ["active", "pve"]


def test_a_missing_value_is_noticed() -> None:
    query = sa.select(leases.c.vmid).where(leases.c.node == sa.bindparam("node"))

    with pytest.raises(KeyError):
        statements.Prepared(query).text(SQLITE).bind({})


def test_a_list_of_unknown_length_cannot_be_prepared() -> None:
    query = sa.select(leases.c.vmid).where(leases.c.node.in_(["a", "b"]))

    with pytest.raises(ValueError, match="prepared"):
        statements.Prepared(query).text(SQLITE)


@pytest.mark.parametrize("nodes", [["a"], ["a", "b", "c"], []])
def test_lists_have_their_length(compiler: statements.Compiler, nodes: list[str]) -> None:
    query = sa.select(leases.c.vmid).where(leases.c.node.in_(nodes), leases.c.cores == 2)

    text, bound = compiler.compile(query)

    assert sorted(map(str, bound)) == sorted([*nodes, "2"])  # PostgreSQL's are numbered
    assert len(text.names) == len(nodes) + 1


def test_the_same_query_with_other_values_is_compiled_once(compiler: statements.Compiler) -> None:
    texts = [
        compiler.compile(leases.update().values(due_at=clock.Moment(n)).where(leases.c.vmid == n))
        for n in (1, 2)
    ]

    assert texts[0][0] is texts[1][0]
    assert [bound for _, bound in texts] == [[1, 1], [2, 2]]


def test_rows_are_found_by_name_and_by_place() -> None:
    found = statements.Result(("node", "vmid"), [("pve", 100), ("pve", 101)], 0)

    assert [row.vmid for row in found] == [100, 101]
    assert found.scalars() == ["pve", "pve"]
    assert found.mappings()[1] == {"node": "pve", "vmid": 101}


@pytest.mark.parametrize("count", [0, 2])
def test_one_row_is_one_row(count: int) -> None:
    found = statements.Result(("vmid",), [(100,)] * count, 0)

    with pytest.raises(LookupError):
        found.one()
