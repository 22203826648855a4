"""The one error tree, sorted by what the operator must do, and the exit codes it maps to.

    TraderError                 1  a bug, where it is no other
    ├── UsageError              2  call it again, corrected
    │   └── NotListed           2  name a symbol that is listed
    ├── ConfigurationError      3  correct a setting, the environment or the machine
    │   └── ClockSkewed         3  set the clock
    ├── DataError               4  run the stage that makes it
    │   ├── DataMissing         4
    │   │   └── TooFewBars      4  fetch more, or use a shorter time frame
    │   ├── DataInvalid         4
    │   └── DataStale           4
    ├── LedgerLocked           11  let the other process end, or stop it
    │   └── OwnerSilent        11  end it by force
    ├── ExchangeUnavailable     5  try again later
    │   ├── NoPrice             5
    │   └── RateLimited         5  wait as long as it says
    ├── OwnershipLost          11  nothing: another process goes on
    ├── ExchangeRejected        6  read what the exchange says
    │   └── TooManyOrders       6  wait as long as it says
    └── VerificationFailed     10  do not use what it is about

Rooms add leaves of their own: `LedgerUnwritable`, `LedgerDamaged` and `LedgerOfAnother` are `DataError`s of the
ledger's file, `SigningRefused` is a `ConfigurationError`. A command that ends by a signal leaves by `Finished`,
`Terminated` (143) or `HungUp` (129), which are no errors. Refusals (7), abstentions (8) and halts (9) are values
(`core.money.plans`, `core.types`).
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a `trader` process says on leaving. Documented in docs/exit-codes.md."""

    DONE = 0
    BUG = 1
    USAGE = 2
    CONFIGURATION = 3
    DATA = 4
    UNAVAILABLE = 5
    REJECTED = 6
    REFUSED = 7
    ABSTAINED = 8
    HALTED = 9
    VERIFICATION_FAILED = 10
    LOCKED = 11
    LOOK = 12
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


class TraderError(Exception):
    """Something the operator can mend. `sentence` says what was expected and found, `hint` what to do."""

    exit_code = ExitCode.BUG
    answered = True
    """Whether the exchange said anything, where this is about the exchange."""

    def __init__(self, sentence: str, *, hint: str | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.hint = hint

    def __str__(self) -> str:
        return self.sentence if self.hint is None else f"{self.sentence} {self.hint}"


class UsageError(TraderError):
    """The command was called wrongly: call it again, corrected."""

    exit_code = ExitCode.USAGE


class NotListed(UsageError):
    """The exchange does not list the symbol: never did, or not any more."""


class ConfigurationError(TraderError):
    """A setting, the environment or the machine is set up wrongly: correct it."""

    exit_code = ExitCode.CONFIGURATION


class ClockSkewed(ConfigurationError):
    """This machine's clock and the exchange's disagree by more than is allowed: set the clock."""


class DataError(TraderError):
    """Data is missing, stale or invalid: run the stage that makes it."""

    exit_code = ExitCode.DATA


class DataMissing(DataError):
    """A stage's input is not there yet."""


class TooFewBars(DataMissing):
    """A model, or the judgement of a rule, wants more bars than there are: `lacking` more than the `known` at least."""

    def __init__(self, sentence: str, lacking: int, known: int, *, of_rule: bool = False) -> None:
        super().__init__(sentence)
        self.lacking, self.known, self.of_rule = lacking, known, of_rule


class DataInvalid(DataError):
    """Data breaks its schema or its rules; the offending row is in the sentence."""


class DataStale(DataError):
    """Data is older than its type allows, or was made from something else than what is asked for."""


class LedgerLocked(TraderError):
    """Another process owns the ledger: let it end, or stop it. `owner` is its pid and command."""

    exit_code = ExitCode.LOCKED

    def __init__(self, path: str, owner: str) -> None:
        super().__init__(f"Another trader process, {owner}, owns the ledger {path}.", hint="Let it end, or stop it.")
        self.owner = owner


class OwnerSilent(LedgerLocked):
    """The process that owns the ledger does not answer what it is asked."""

    def __init__(self, owner: str) -> None:
        TraderError.__init__(
            self, f"The process {owner} owns the ledger and does not answer.", hint="`trader flatten --force` ends it."
        )
        self.owner = owner


class ExchangeUnavailable(TraderError):
    """The exchange did not answer, or answered what cannot be read: try again later.

    `answered` is false where nothing came back at all.
    """

    exit_code = ExitCode.UNAVAILABLE

    def __init__(self, sentence: str, *, hint: str | None = None, answered: bool = True) -> None:
        super().__init__(sentence, hint=hint)
        self.answered = answered


class NoPrice(ExchangeUnavailable):
    """The exchange answered, and shows no fresh price of one symbol. Others may have one."""


class RateLimited(ExchangeUnavailable):
    """The exchange told us to slow down, for `retry_after_s`. `banned`: it has shut our address out."""

    def __init__(self, sentence: str, *, retry_after_s: float, hint: str | None = None, banned: bool = False) -> None:
        super().__init__(sentence, hint=hint)
        self.retry_after_s = retry_after_s
        self.banned = banned


class OwnershipLost(TraderError):
    """Another process has taken the ledger over: this one sends nothing any more."""

    exit_code = ExitCode.LOCKED


class ExchangeRejected(TraderError):
    """The exchange understood the request and said no. `code` is its own number, where it gave one."""

    exit_code = ExitCode.REJECTED

    def __init__(self, sentence: str, *, code: int | None = None, hint: str | None = None) -> None:
        super().__init__(sentence, hint=hint)
        self.code = code


class TooManyOrders(ExchangeRejected):
    """The exchange takes no more new orders for `retry_after_s`; everything else goes on."""

    def __init__(self, sentence: str, *, code: int, retry_after_s: float, hint: str | None = None) -> None:
        super().__init__(sentence, code=code, hint=hint)
        self.retry_after_s = retry_after_s


class VerificationFailed(TraderError):
    """What was to be shown was not: a check or a certificate failed. What it is about may not be used."""

    exit_code = ExitCode.VERIFICATION_FAILED


class Finished(SystemExit):
    """A command that ends by a signal has ended as it should, has said so, and leaves with this code."""


class Terminated(BaseException):
    """SIGTERM or SIGHUP arrived. Not an `Exception`, so that no handler on the way out swallows it."""

    exit_code, words = ExitCode.TERMINATED, "Terminated"


class HungUp(Terminated):
    """SIGHUP arrived: the terminal is gone."""

    exit_code, words = ExitCode.HUNG_UP, "Hung up"
