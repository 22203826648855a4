"""Downloading from the exchange's bulk archive (no key, no request weight): every zip is checked against its digest.

What the files are called and which are needed is said in `exchange.archive.catalogue`, what they hold is read in
`exchange.archive.parsing`. Nothing is stored here.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import deque
from typing import TYPE_CHECKING

from trader_cli.core.errors import ExchangeUnavailable, UsageError
from trader_cli.exchange.connection.client import make_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from types import TracebackType

    import aiohttp

    from trader_cli.core.ports import Clock
    from trader_cli.exchange.archive.catalogue import ArchiveFile
    from trader_cli.exchange.connection.venue_session import VenueResponse, VenueSession
    from trader_cli.venue.server.simulated_venue import SimulatedVenue

ATTEMPTS = 4
"""How often one file is asked for before it counts as unavailable: about four seconds of trying again."""
LONGEST_BODY = 1 << 30
"""Bytes: more than any file planned (`plan_files`) has; a body that goes on is not waited for."""
_LONGEST_CHECKSUM = 4096
_LONGEST_IN_TIMEOUTS = 20
"""A body that trickles is given up after so many of the times that silence is waited for."""
_CHECKSUM = re.compile(r"([0-9a-fA-F]{64})\s+\*?(\S+)")


class Archive:
    """The archive at `base_url` (`https://data.binance.vision`); `async with`, used by one event loop.

    `threads` lets digests be taken in a thread while the loop goes on: only with a wall clock, since nothing else may
    be under way where time is virtual. `timeout_s` is how long a silent connection is waited for, in real seconds.
    """

    def __init__(
        self,
        base_url: str,
        clock: Clock,
        *,
        timeout_s: float = 30.0,
        threads: bool = False,
        venue: SimulatedVenue | None = None,
    ) -> None:
        """`venue` answers in this process, without sockets."""
        self._base_url = base_url.rstrip("/")
        self._clock = clock
        self._timeout_s = timeout_s
        self._threads = threads
        self._venue = venue
        self._session: aiohttp.ClientSession | VenueSession | None = None
        self._open = False

    async def __aenter__(self) -> Archive:
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, self._session, self._open = self._session, None, False
        if session is not None:
            await session.close()

    async def fetch(self, file: ArchiveFile) -> bytes | None:
        """The bytes of one zip, equal to what its `.CHECKSUM` promises; `None` where the archive has no such file.

        A short body, a digest that differs, a check sum that is not there and a server in trouble are tried again;
        then `ExchangeUnavailable` names the file and, where they differ, both digests.
        """
        from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(ExchangeUnavailable),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(multiplier=0.5, max=8),
            sleep=self._clock.sleep,
            reraise=True,
        )
        return await retrying(self._attempt, file)

    async def stream(
        self, files: Iterable[ArchiveFile], parallel: int = 4
    ) -> AsyncIterator[tuple[ArchiveFile, bytes | None]]:
        """Each file with its bytes (or `None`), in the order of `files`, while the next `parallel` are under way.

        No more than `parallel` bodies are held besides the one given out. Closing it early (`contextlib.aclosing`)
        cancels what is under way and waits until it has ended; so does an error, which is the first in that order.
        """
        if parallel < 1:
            raise UsageError(f"At least one download at a time is needed; found {parallel}.")
        left = iter(files)
        ahead: deque[tuple[ArchiveFile, asyncio.Task[bytes | None]]] = deque()

        def start_next() -> None:
            file = next(left, None)
            if file is not None:
                ahead.append((file, asyncio.create_task(self.fetch(file))))

        try:
            for _ in range(parallel):
                start_next()
            while ahead:
                file, task = ahead[0]
                body = await task
                ahead.popleft()
                start_next()
                yield file, body
                del body
        finally:
            tasks = [task for _, task in ahead]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)  # what ends here is not wanted any more

    async def _attempt(self, file: ArchiveFile) -> bytes | None:
        with self._clock.held():
            body, promised = await self._both(file)
            if body is None:
                return None
            digest = await asyncio.to_thread(_sha256, body) if self._threads else _sha256(body)
        wanted = _promised_digest(promised, file)
        if digest != wanted:
            raise ExchangeUnavailable(
                f"{file.name} from {self._base_url} is not what its check sum promises: {len(body):,} bytes with"
                f" sha256 {digest}, promised {wanted}.",
                hint="Try again later; if it stays so, the archive is being written anew.",
            )
        return body

    async def _both(self, file: ArchiveFile) -> tuple[bytes | None, bytes | None]:
        """The zip and its check sum, asked for at once. The check sum is not waited for where there is no zip."""
        checksum = asyncio.create_task(self._get(f"{file.path}.CHECKSUM", _LONGEST_CHECKSUM))
        try:
            body = await self._get(file.path, LONGEST_BODY)
            return body, (await checksum if body is not None else None)
        finally:
            checksum.cancel()
            await asyncio.gather(checksum, return_exceptions=True)  # its answer is taken or not wanted any more

    def _opened(self) -> aiohttp.ClientSession | VenueSession:
        if self._venue is None:
            return make_session()
        from trader_cli.exchange.connection.venue_session import VenueSession

        return VenueSession(self._venue)

    async def _get(self, path: str, longest: int) -> bytes | None:
        import aiohttp

        if not self._open:
            raise UsageError("The archive is closed.", hint="Use it as `async with Archive(...) as archive`.")
        session = self._session = self._session or self._opened()  # most fetches need nothing of the archive
        url = f"{self._base_url}/{path}"
        timeout = aiohttp.ClientTimeout(
            total=_LONGEST_IN_TIMEOUTS * self._timeout_s, sock_connect=self._timeout_s, sock_read=self._timeout_s
        )
        try:
            async with session.get(url, timeout=timeout, headers={"Accept-Encoding": "identity"}) as reply:
                if reply.status == 404:
                    return None
                if reply.status != 200:
                    raise ExchangeUnavailable(f"{url} answered with HTTP {reply.status}.", hint="Try again later.")
                return await _body(reply, url, longest)
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise ExchangeUnavailable(f"{url} could not be read: {reason}.", hint="Check the network.") from error


async def _body(reply: aiohttp.ClientResponse | VenueResponse, url: str, longest: int) -> bytes:
    parts, size = [], 0
    async for part in reply.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > longest:
            raise ExchangeUnavailable(f"{url} goes on after {longest:,} bytes, the longest that is expected.")
    return b"".join(parts)


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _promised_digest(checksum: bytes | None, file: ArchiveFile) -> str:
    """The digest in `<sha256>  <file name>`. Raises `ExchangeUnavailable` if it is absent or of another file."""
    if checksum is None:
        raise ExchangeUnavailable(
            f"{file.name} is there, but not its {file.name}.CHECKSUM: it cannot be verified and is not used.",
            hint="Try again later.",
        )
    found = _CHECKSUM.fullmatch(checksum.decode(errors="replace").strip())
    if found is None or found[2] != file.name:
        raise ExchangeUnavailable(
            f"{file.name}.CHECKSUM should hold a sha256 and {file.name!r}; found {checksum[:100]!r}.",
            hint="Try again later.",
        )
    return found[1].lower()
