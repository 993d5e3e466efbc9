"""SQL with its values: queries built with SQLAlchemy, compiled once, bound and read without it.

A query that is run all the time is a `Prepared`: its text and the ways its values are converted are
found once, and a run only fills in values. Any other query is compiled through the same cache that
SQLAlchemy's own connections use, which costs about ten times as much as a prepared one.
"""

import dataclasses
import functools
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.util import LRUCache

Query = Any
"""A SQLAlchemy Core query: a select, an insert, an update, a delete, or a text."""

_Row = TypeVar("_Row")
_Convert = Callable[[Any], Any]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """What is sent to a database, and how its values are converted."""

    sql: str
    names: tuple[str, ...]  # of the values, in their order
    constants: Mapping[str, Any]  # those that stand in the query itself, converted
    to_database: Mapping[str, _Convert]
    columns: tuple[str, ...]
    from_database: tuple[tuple[int, _Convert], ...]
    only_reads: bool
    is_dml: bool

    @property
    def returns_rows(self) -> bool:
        """Whether rows come back."""
        return bool(self.columns)

    def bind(self, values: Mapping[str, Any]) -> list[Any]:
        """Return the values in their order, as the database wants them. Raises KeyError."""
        found = []
        for name in self.names:
            if name in values:
                convert = self.to_database.get(name)
                found.append(values[name] if convert is None else convert(values[name]))
            else:
                found.append(self.constants[name])
        return found

    def read(self, rows: Sequence[Any]) -> list[Sequence[Any]]:
        """Return rows with their values converted."""
        if not self.from_database:
            return list(rows)
        read: list[Sequence[Any]] = []
        for row in rows:
            values = list(row)
            for position, convert in self.from_database:
                values[position] = convert(values[position])
            read.append(values)
        return read


class Prepared:
    """A query with `sa.bindparam` holes, compiled once for each kind of database."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._texts: dict[str, Text] = {}

    def text(self, dialect: Dialect) -> Text:
        """Return the query as a database wants it."""
        found = self._texts.get(dialect.name)
        if found is None:
            found = self._texts[dialect.name] = _prepare(self._query, dialect)
        return found


class Compiler:
    """Compiles queries that are not prepared, for one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._cache: Any = LRUCache(500)
        self._texts: WeakKeyDictionary[SQLCompiler, Text] = WeakKeyDictionary()

    def compile(
        self, query: Query, values: Mapping[str, Any] | None = None
    ) -> tuple[Text, list[Any]]:
        """Return a query's text and its values; `values` are those of its named holes."""
        columns = sorted(values) if values and query.is_dml else []
        compiled, extracted, collected, _ = query._compile_w_cache(
            self.dialect, compiled_cache=self._cache, column_keys=columns
        )
        filled = compiled.construct_params(
            dict(values or {}),
            extracted_parameters=extracted,
            escape_names=False,
            _collected_params=collected,
        )
        text = self._texts.get(compiled)
        if text is None:
            text = self._texts[compiled] = _text(compiled, query)
        if not compiled.post_compile_params:
            return text, text.bind(filled)
        full = compiled._process_parameters_for_postcompile(filled)  # lists get their length
        text = dataclasses.replace(
            text,
            sql=full.statement,
            names=tuple(full.positiontup or ()),
            to_database={**text.to_database, **full.processors},
        )
        return text, text.bind({**filled, **full.additional_parameters})


class Rows(list[_Row], Generic[_Row]):
    """What a query found, in order."""

    def all(self) -> "Rows[_Row]":
        """Return all of it."""
        return self

    def one_or_none(self) -> _Row | None:
        """Return the only row; None if there is none. Raises LookupError if there are more."""
        if len(self) > 1:
            raise LookupError(f"{len(self)} rows where one was expected")
        return self[0] if self else None

    def one(self) -> _Row:
        """Return the only row. Raises LookupError if there is none, or more."""
        if len(self) != 1:
            raise LookupError(f"{len(self)} rows where one was expected")
        return self[0]


class Result:
    """The rows of a query, and how many rows it wrote."""

    __slots__ = ("_columns", "_rows", "rowcount")

    def __init__(self, columns: tuple[str, ...], rows: list[Sequence[Any]], rowcount: int) -> None:
        self._columns = columns
        self._rows = rows
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[Any]:
        return iter(self.all())

    def mappings(self) -> Rows[dict[str, Any]]:
        """Return the rows by the names of their columns."""
        return Rows(dict(zip(self._columns, row, strict=True)) for row in self._rows)

    def all(self) -> Rows[Any]:
        """Return the rows as tuples whose values also have the names of their columns."""
        return Rows(map(_named(self._columns), self._rows))

    def one(self) -> Any:
        """Return the only row. Raises LookupError."""
        return self.all().one()

    def one_or_none(self) -> Any:
        """Return the only row; None if there is none. Raises LookupError if there are more."""
        return self.all().one_or_none()

    def scalars(self) -> Rows[Any]:
        """Return the first value of every row."""
        return Rows(row[0] for row in self._rows)

    def scalar_one(self) -> Any:
        """Return the only value. Raises LookupError."""
        return self.scalars().one()

    def scalar(self) -> Any:
        """Return the first value of the first row; None without rows."""
        return self._rows[0][0] if self._rows else None


@functools.lru_cache(maxsize=256)
def _named(columns: tuple[str, ...]) -> Callable[[Sequence[Any]], Any]:
    if not columns:
        return tuple
    row: Any = namedtuple("Row", columns, rename=True)  # type: ignore[misc] # fields of a query
    return row._make


def _prepare(query: Query, dialect: Dialect) -> Text:
    compiled = query.compile(dialect=dialect)
    if compiled.post_compile_params:
        raise ValueError("a list of unknown length cannot be prepared")
    text = _text(compiled, query)
    constants = {
        name: bind.value if name not in text.to_database else text.to_database[name](bind.value)
        for name, bind in compiled.binds.items()
        if not bind.required and name in text.names
    }
    return dataclasses.replace(text, constants=constants)


def _text(compiled: SQLCompiler, query: Query) -> Text:
    dialect = compiled.dialect
    columns = compiled._result_columns
    processors: Any = compiled._bind_processors
    converts = [
        column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns
    ]
    return Text(
        sql=compiled.string,
        names=tuple(compiled.positiontup or ()),
        constants={},
        to_database=dict(processors),
        columns=tuple(column.keyname for column in columns),
        from_database=tuple((n, convert) for n, convert in enumerate(converts) if convert),
        only_reads=bool(query.is_select),
        is_dml=bool(query.is_dml),
    )
