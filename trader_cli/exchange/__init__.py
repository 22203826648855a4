"""The only room that knows ccxt: the exchange client, its errors, its request budget."""
