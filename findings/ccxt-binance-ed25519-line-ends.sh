#!/usr/bin/env bash
# ccxt 4.5.90, binance: an Ed25519 key whose PEM file has Windows line ends is taken for an RSA key.
#
# For a secret that holds "PRIVATE KEY" ccxt tells RSA from Ed25519 by the length of the text: over 120 characters it is
# RSA. The PEM of an Ed25519 key has 119 characters with "\n" and 122 with "\r\n" (or with three blank lines after it), so
# one and the same key signs or does not, by the ends of its lines: with "\r\n" the RSA method is called, which fails.
#
# Seen with ccxt 4.5.90 and the cryptography it asks for on Python 3.11; the output is compared below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ccxt==4.5.90
"$folder/venv/bin/python" - > "$folder/seen" <<'PY'
import ccxt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
unix = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
for name, pem in (("line ends \\n", unix), ("line ends \\r\\n", unix.replace("\n", "\r\n"))):
    exchange = ccxt.binanceusdm({"apiKey": "key", "secret": pem})
    try:
        exchange.sign("order", ["fapiPrivate"], "GET", {"symbol": "BTCUSDT"})
        came = "signed"
    except Exception as error:
        came = f"not signed: {type(error).__name__}"
    print(f"{name}, {len(pem)} characters: {came}")
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
line ends \n, 119 characters: signed
line ends \r\n, 122 characters: not signed: TypeError
SEEN
