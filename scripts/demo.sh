# The demo: each stage a process of its own, on the simulated exchange. `make demo` runs it; BIN is the venv's bin folder.
set -eu
export TRADER_PROFILE=sim TRADER_CACHE_DIR="${TRADER_CACHE_DIR:-cache}" TRADER_STATE_DIR="${TRADER_STATE_DIR:-.state/demo}"
run() {
    printf '\n$ trader %s\n' "$*"
    "$BIN/trader" "$@"
}
run venue reset
run fetch ETHUSDT --timeframe 15m
run features
run train
run analyze --wait 96
run status
