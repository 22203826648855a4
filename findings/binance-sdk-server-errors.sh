#!/usr/bin/env bash
# binance-sdk-derivatives-trading-usds-futures 18.1.0: "may have been executed" and "was not executed" are one exception.
#
# Binance answers HTTP 503 to an order for reasons that ask for opposite things, told apart by the body alone (so its
# documentation): after "Unknown error, ..." the order may stand and must be looked for, "Service Unavailable." and
# -1008 mean that it does not and can be sent again. Of any 5xx the SDK keeps the status: code and message of the body are
# dropped, nothing of the answer is left on the exception, and status_code, which for HTTP 400 holds Binance's code,
# holds 503. Whoever sends again may hold the position twice; whoever does not may have no stop.
# HTTP 408, -1007, the other answer whose outcome is unknown, comes as a ClientError without any code, as if refused.
#
# A cancel, on the other hand, is sent again by the SDK itself after a 5xx (three times by default), also when its outcome
# is unknown; what is told is the last answer, such as -2011 "Unknown order sent." for an order that the first one did
# cancel. Its documentation of retries names neither the methods nor the answers.
#
# Seen with binance-sdk-derivatives-trading-usds-futures 18.1.0 and binance-common 4.7.0 on Python 3.11, against a small
# server that gives such answers; the output is compared below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    binance-sdk-derivatives-trading-usds-futures==18.1.0 binance-common==4.7.0
"$folder/venv/bin/python" - > "$folder/seen" 2> "$folder/log" <<'PY'
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

from binance_common.configuration import ConfigurationRestAPI
from binance_sdk_derivatives_trading_usds_futures.derivatives_trading_usds_futures import DerivativesTradingUsdsFutures

ANSWERS, ASKED = [], []


class Exchange(BaseHTTPRequestHandler):
    def answer(self):
        ASKED.append(self.command)
        status, body = ANSWERS.pop(0)
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_DELETE = answer

    def log_message(self, *told):
        pass


server = HTTPServer(("127.0.0.1", 0), Exchange)
Thread(target=server.serve_forever, daemon=True).start()
configuration = ConfigurationRestAPI(
    api_key="key", api_secret="secret", base_path=f"http://127.0.0.1:{server.server_port}", backoff=10
)
futures = DerivativesTradingUsdsFutures(config_rest_api=configuration).rest_api


def told(name, answers, call):
    ANSWERS[:], ASKED[:] = answers, []
    try:
        call()
        came = "no error"
    except Exception as error:
        came = f"{type(error).__name__}, {error.status_code}, {error.error_message!r}"
    print(f"{name}, sent {len(ASKED)} x: {came}")


def order():
    futures.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity=0.01)


def cancel():
    futures.cancel_order(symbol="BTCUSDT", orig_client_order_id="mine")


unknown = (503, {"msg": "Unknown error, please check your request or try again later."})
REASONS = {
    "that may stand (503, unknown)": unknown,
    "that may stand (408, -1007)": (408, {"code": -1007, "msg": "Timeout waiting for response from backend server."}),
    "that does not stand (503, unavailable)": (503, {"msg": "Service Unavailable."}),
    "that does not stand (503, -1008)": (503, {"code": -1008, "msg": "Request throttled by system-level protection."}),
    "that was refused (400, -2019)": (400, {"code": -2019, "msg": "Margin is insufficient."}),
}
for name, answer in REASONS.items():
    told(f"order {name}", [answer], order)
gone = (400, {"code": -2011, "msg": "Unknown order sent."})
told("cancel that was done (503, unknown; 400, -2011)", [unknown, gone], cancel)
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
order that may stand (503, unknown), sent 1 x: ServerError, 503, 'Server error: 503'
order that may stand (408, -1007), sent 1 x: ClientError, None, 'Timeout waiting for response from backend server.'
order that does not stand (503, unavailable), sent 1 x: ServerError, 503, 'Server error: 503'
order that does not stand (503, -1008), sent 1 x: ServerError, 503, 'Server error: 503'
order that was refused (400, -2019), sent 1 x: BadRequestError, -2019, 'Margin is insufficient.'
cancel that was done (503, unknown; 400, -2011), sent 2 x: BadRequestError, -2011, 'Unknown order sent.'
SEEN
