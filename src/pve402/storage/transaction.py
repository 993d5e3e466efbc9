"""What can be done within a transaction, on either database."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any

from pve402.storage import statements


class StatementRefused(RuntimeError):
    """The database refused a statement: it breaks a constraint, or is wrong.

    Names the statement and never its values, which may be sealed or signed by somebody.
    """


class Transaction(abc.ABC):
    """Runs statements one after another; what they write is kept together or not at all."""

    def __init__(self, compiler: statements.Compiler) -> None:
        self._compiler = compiler

    async def run(self, prepared: statements.Prepared, /, **values: Any) -> statements.Result:
        """Run a prepared query with values for its holes."""
        text = prepared.text(self._compiler.dialect)
        rows, count = await self._send(text, text.bind(values), is_short=True)
        return statements.Result(text.columns, text.read(rows), count)

    async def execute(
        self,
        query: statements.Query,
        values: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    ) -> statements.Result:
        """Run any query of SQLAlchemy Core; with a list of values, once for each of them."""
        if isinstance(values, Mapping) or values is None:
            text, bound = self._compiler.compile(query, values)
            rows, count = await self._send(text, bound, is_short=False)
            return statements.Result(text.columns, text.read(rows), count)
        if values:
            text, _ = self._compiler.compile(query, values[0])
            await self._send_many(text, [text.bind(each) for each in values])
        return statements.Result((), [], len(values))

    async def scalar(self, query: statements.Query) -> Any:
        """Return the first value of the first row of a query; None without rows."""
        return (await self.execute(query)).scalar()

    @abc.abstractmethod
    async def _send(
        self, text: statements.Text, values: list[Any], *, is_short: bool
    ) -> tuple[Sequence[Any], int]:
        """Run a text; return its rows and how many rows it wrote."""

    @abc.abstractmethod
    async def _send_many(self, text: statements.Text, values: list[list[Any]]) -> None:
        """Run a text once for each list of values."""


def refusal(kind: str, sql: str) -> StatementRefused:
    """Return the error for a refused statement."""
    return StatementRefused(f"{kind}: {sql[:300]}")
