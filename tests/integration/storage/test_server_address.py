"""Addresses of PostgreSQL as hosting services hand them out, on a real server."""

import pytest
import sqlalchemy as sa

from pve402.storage import database

pytestmark = pytest.mark.postgres


@pytest.mark.parametrize(
    ("query", "setting", "value"),
    [
        ({"sslmode": "disable"}, "ssl", "off"),
        ({"sslmode": "prefer"}, "ssl", "off"),
        ({"sslmode": "allow", "connect_timeout": "3"}, "ssl", "off"),
        ({"application_name": "shop"}, "application_name", "shop"),
        ({"options": "-c statement_timeout=7s"}, "statement_timeout", "7s"),
        ({"target_session_attrs": "any", "keepalives": "1"}, "ssl", "off"),
        ({"statement_cache_size": "0"}, "ssl", "off"),
        ({"timeout": "5", "command_timeout": "60"}, "ssl", "off"),
        ({"connect_timeout": "0"}, "ssl", "off"),
        ({"prepared_statement_cache_size": "0", "ssl": "prefer"}, "ssl", "off"),
        ({"max_cached_statement_lifetime": "9", "lock_timeout": "8000"}, "lock_timeout", "8s"),
        ({"channel_binding": "prefer", "statement_timeout": "9000"}, "statement_timeout", "9s"),
    ],
)
async def test_the_parameters_of_an_address_are_honoured(
    migrated_url: str, query: dict[str, str], setting: str, value: str
):
    url = sa.make_url(migrated_url).update_query_dict(query)
    db = await database.Database(url.render_as_string(hide_password=False)).open()

    async with db.read() as tx:
        found = await tx.scalar(sa.select(sa.func.current_setting(setting)))

    await db.close()
    assert found == value
