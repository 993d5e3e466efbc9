"""Keeps replicas on one version of the catalogue, and makes a new one when a file is changed.

The newest row is on sale. Every replica reads it every two seconds, and looks whether its own file
was changed; a changed file that can be used becomes the next version, for all replicas. So a
replica whose file differs does not bring it back: the change that was made last decides.
"""

import asyncio
import contextlib
import dataclasses
import hashlib
import itertools
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import sqlalchemy as sa
import structlog

from pve402.domain import catalogue, errors
from pve402.leases import on_sale as sale
from pve402.leases import rounds
from pve402.storage import catalogue_rows, database, transaction

log = structlog.get_logger(__name__)

INTERVAL_SECONDS = 2.0
ASKED_LATE_SECONDS = 15.0
"""How long after a change a replica may still ask for the old price; it reads more often."""
_DIFFERS = (
    "the file differs from version {number}, which is on sale; `pve402 ops catalogue reload` puts"
    " the file on sale"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
    """What an operator wrote."""

    text: str
    changed_at: datetime | None  # None: it came with the program

    @property
    def digest(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class Source(Protocol):
    """The file of this replica."""

    def stamp(self) -> object:
        """Return what differs after a change, without reading the file."""

    def load(self) -> Written:
        """Read and check it. Raises CatalogueError, which names the file."""

    def parse(self, text: str) -> catalogue.Catalogue:
        """Return the catalogue that a text makes here. Raises CatalogueError."""


class Versions:
    """Reads and makes versions."""

    def __init__(
        self,
        db: database.Database,
        on_sale: sale.OnSale,
        source: Source,
        *,
        payment_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._on_sale = on_sale
        self._source = source
        self._holds = timedelta(seconds=payment_seconds + ASKED_LATE_SECONDS)
        self._clock = clock
        self._known: dict[int, sale.Version | None] = {}
        self._digest: str | None = None  # of the version on sale
        self._file_digest: str | None = None
        self._file_problem: str | None = None
        self._row_problem: str | None = None
        self._stamp: object = None
        self._moving: object = None
        self._turn = asyncio.Lock()
        self._rounds = rounds.Rounds("catalogue", self.look, INTERVAL_SECONDS)

    @property
    def problem(self) -> str | None:
        """Why this replica's file is not what is on sale, in a sentence; None if it is."""
        found = self._row_problem or self._file_problem
        if found is None and self._file_digest not in {None, self._digest}:
            return _DIFFERS.format(number=self._on_sale.version.number)
        return found

    async def open(self) -> None:
        """Put the right version on sale at the start.

        The file becomes a version if it is new: its text was never one, or it was changed since
        the newest version was made. With SQLite there is no other replica, and it always does.
        Raises CatalogueError if neither file nor newest version can be used.
        """
        self._stamp = self._moving = await asyncio.to_thread(self._source.stamp)
        await self.read()
        try:
            written = await self._load()
        except catalogue.CatalogueError:
            if self._digest is None:
                raise
            return
        if written.digest == self._digest:
            return
        if await self._is_news(written):
            await self._publish(written)
        elif self._digest is None:
            raise catalogue.CatalogueError(self._row_problem or self._on_sale.missing)
        else:
            log.warning("catalogue_differs", reason=self.problem)

    def start(self) -> None:
        """Look every two seconds."""
        self._rounds.start(with_pause=True)

    async def stop(self) -> None:
        """Stop looking."""
        await self._rounds.stop()

    async def read(self) -> None:
        """Put the newest version on sale, if it can be used here."""
        async with self._turn:
            async with self._db.read() as tx:
                heads = await catalogue_rows.list_newest(tx)
                now = await self._db.time_in(tx)
                read_at = self._clock()
                wanted = self._wanted(heads, now)
                for head in wanted:
                    await self._learn(tx, head)
            if wanted:
                self._take(wanted, now, read_at)

    async def adopt(self) -> None:
        """Put on sale what the service sells, for a command; the file if that cannot be read.

        The tables may be away, or those of an older version.
        """
        with contextlib.suppress(errors.DatabaseUnavailable, sa.exc.ProgrammingError):
            if await self._db.has_tables():
                await self.read()

    async def refresh(self) -> bool:
        """Read the newest version now; return whether it is another."""
        before = self._on_sale.version
        await self.read()
        return self._on_sale.version is not before

    async def look(self) -> None:
        """Read the newest version; make another of a file that was changed and is at rest.

        A file is taken once it has the same stamp twice, as it may be read half written.
        """
        await self.read()
        stamp = await asyncio.to_thread(self._source.stamp)
        if stamp == self._stamp:
            return
        if stamp != self._moving:
            self._moving = stamp
            return
        before = self._file_digest
        try:
            written = await self._load()
            if written.digest != before:  # a file that was only touched is no change
                await self._publish(written)
        except catalogue.CatalogueError:
            pass  # `_load` said why
        except errors.DatabaseUnavailable:
            self._file_digest = before  # the change is still to be made
            raise
        self._stamp = stamp

    async def publish(self) -> bool:
        """Make the file the next version, unless it is on sale; return whether it was made.

        Raises CatalogueError, and says why in log and `problem`, if it cannot be used.
        """
        return await self._publish(await self._load())

    async def _publish(self, written: Written) -> bool:
        made = False
        while not made and written.digest != self._digest:
            after = max(self._known, default=0)
            async with self._db.begin() as tx:
                made = await catalogue_rows.publish(
                    self._db, tx, after=after, digest=written.digest, text=written.text
                )
            await self.read()
        return made

    async def _load(self) -> Written:
        """Read the file and check it; remember why it cannot be used."""
        try:
            written = await asyncio.to_thread(self._source.load)
        except catalogue.CatalogueError as error:
            self._file_problem = error.reason
            log.error("catalogue_refused", reason=str(error))  # noqa: TRY400
            raise
        self._file_digest, self._file_problem = written.digest, None
        return written

    async def _is_news(self, written: Written) -> bool:
        async with self._db.read() as tx:
            heads = await catalogue_rows.list_newest(tx)
            was_published = await catalogue_rows.was_published(tx, written.digest)
        if self._db.is_sqlite or not heads or not was_published:
            return True
        return written.changed_at is not None and written.changed_at > heads[0].made_at

    def _wanted(
        self, heads: Sequence[catalogue_rows.Head], now: datetime
    ) -> list[catalogue_rows.Head]:
        """Return the newest version, and each that was replaced so lately that its prices hold."""
        found = list(heads[:1])
        for newer, head in itertools.pairwise(heads):
            if newer.made_at + self._holds <= now:
                break
            found.append(head)
        return found

    async def _learn(self, tx: transaction.Transaction, head: catalogue_rows.Head) -> None:
        """Parse a version once; keep None for one that cannot be used here."""
        if head.version in self._known:
            return
        text, made = await catalogue_rows.text_of(tx, head.version), None
        try:
            if text is not None:
                parsed = await asyncio.to_thread(self._source.parse, text)
                made = sale.Version(number=head.version, catalogue=parsed)
        except catalogue.CatalogueError as error:
            log.error("catalogue_version_unusable", version=head.version, reason=str(error))  # noqa: TRY400
            self._row_problem = f"version {head.version} cannot be used here: {error}"
        self._known[head.version] = made

    def _take(self, wanted: Sequence[catalogue_rows.Head], now: datetime, read_at: float) -> None:
        newest = wanted[0]
        held = []
        for newer, head in itertools.pairwise(wanted):
            version = self._known[head.version]
            left = (newer.made_at + self._holds - now).total_seconds()
            if version is not None:
                held.append(sale.Held(version=version, until=read_at + left))
        version = self._known[newest.version]
        self._known = {head.version: self._known[head.version] for head in wanted}
        if version is None:  # the last one that could be used stays on sale
            return
        if newest.digest != self._digest:
            log.info("catalogue_on_sale", version=newest.version, digest=newest.digest[:12])
            for name, profile in version.catalogue.networks_on_sale.items():
                log.info("network", network=name, isolation=profile.isolation.value)
        self._digest, self._row_problem = newest.digest, None
        self._on_sale.replace(version, held)
