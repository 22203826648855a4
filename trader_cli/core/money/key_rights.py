"""What an API key may be allowed to do: one that can withdraw is refused, one open to every address is warned of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core.errors import ConfigurationError

if TYPE_CHECKING:
    from trader_cli.core.money.orders import KeyRights


def refuse_rights(rights: KeyRights) -> None:
    """Raises `ConfigurationError` for a key that can withdraw, or cannot trade futures."""
    if rights.can_withdraw:
        raise ConfigurationError(
            "This API key can withdraw, and is refused.", hint="Make one that can only read and trade futures."
        )
    if not rights.can_trade_futures:
        raise ConfigurationError("This API key cannot trade futures.", hint="Allow futures for it.")


def warning_of(rights: KeyRights) -> str | None:
    """What a person should know of a key that is not refused: one that works from every address is as good as lost once
    it is seen."""
    if rights.ip_restricted:
        return None
    return (
        "This API key works from every address: whoever sees it can trade. Restrict it to this machine's address where"
        " the exchange manages API keys."
    )
