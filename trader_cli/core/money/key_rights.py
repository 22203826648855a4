"""What an API key may and may not be allowed to do: one that can withdraw is refused, whatever it is to be used for."""

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
