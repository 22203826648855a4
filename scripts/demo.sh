# The demo: from nothing to a closed position on the simulated exchange. `make demo` runs it; BIN is the venv's bin folder.
set -eu
export TRADER_PROFILE=sim TRADER_CACHE_DIR="${TRADER_CACHE_DIR:-cache}" TRADER_STATE_DIR="${TRADER_STATE_DIR:-.state/demo}"
run() {
    printf '\n$ trader %s\n' "$*"
    "$BIN/trader" "$@"
}
run venue reset
run run ETHUSDT --timeframe 15m --wait 96
run status
