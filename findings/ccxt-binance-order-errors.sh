#!/usr/bin/env bash
# ccxt 4.5.90, binanceusdm: the same refusal raises unrelated classes, depending on the HTTP status beside it.
#
# -1015 (too many new orders) comes from Binance with HTTP 429. The table of ccxt says RateLimitExceeded for it, but HTTP
# 429 is looked at before the code is: what is raised is DDoSProtection. Neither is a subclass of the other, so whoever
# catches RateLimitExceeded to hold back new orders never sees it, and whoever stops everything at DDoSProtection stops
# cancels, too, although -1015 speaks of new orders only.
# -1008 (throttled; reduce-only orders are exempt) raises plain OperationFailed, which is no NetworkError: "retry on
# NetworkError" leaves it out. -4130 (a close-position stop exists in this direction) and -4509 (no position yet) raise
# plain ExchangeError while their neighbours -4116, -4118 and -4131 have classes of their own: only the code tells them.
#
# Seen with ccxt 4.5.90 on Python 3.11; the output is compared below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ccxt==4.5.90
"$folder/venv/bin/python" - > "$folder/seen" <<'PY'
import json

import ccxt

exchange = ccxt.binanceusdm()


def raised(status, code):
    body = json.dumps({"code": code, "msg": "refused"})
    try:
        exchange.handle_errors(status, "", "https://fapi.binance.com/fapi/v1/order", "POST", {}, body, json.loads(body), {}, {})
    except ccxt.BaseError as error:
        return f"{type(error).__name__}, a NetworkError: {isinstance(error, ccxt.NetworkError)}"
    return "nothing"


for status, code in ((429, -1015), (400, -1015), (503, -1008), (503, -1007), (400, -4130), (400, -4509), (400, -4116),
                     (400, -4118), (400, -4131)):
    print(f"HTTP {status}, {code}: {raised(status, code)}")
print("DDoSProtection is a RateLimitExceeded:", issubclass(ccxt.DDoSProtection, ccxt.RateLimitExceeded))
print("RateLimitExceeded is a DDoSProtection:", issubclass(ccxt.RateLimitExceeded, ccxt.DDoSProtection))
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
HTTP 429, -1015: DDoSProtection, a NetworkError: True
HTTP 400, -1015: RateLimitExceeded, a NetworkError: True
HTTP 503, -1008: OperationFailed, a NetworkError: False
HTTP 503, -1007: RequestTimeout, a NetworkError: True
HTTP 400, -4130: ExchangeError, a NetworkError: False
HTTP 400, -4509: ExchangeError, a NetworkError: False
HTTP 400, -4116: InvalidOrder, a NetworkError: False
HTTP 400, -4118: OperationRejected, a NetworkError: False
HTTP 400, -4131: OperationRejected, a NetworkError: False
DDoSProtection is a RateLimitExceeded: False
RateLimitExceeded is a DDoSProtection: False
SEEN
