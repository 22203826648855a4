# The demo: from nothing to a closed position on the simulated exchange. `make demo` runs it; BIN is the venv's bin folder.
# Its cache is its own: a model that was trained elsewhere, with more trials counted, would be taken up here.
set -eu
export TRADER_PROFILE=sim TRADER_CACHE_DIR="${TRADER_CACHE_DIR:-cache/demo}" TRADER_STATE_DIR="${TRADER_STATE_DIR:-.state/demo}"
run() {
    printf '\n$ trader %s\n' "$*"
    "$BIN/trader" "$@"
}
run venue reset
run run ETHUSDT --timeframe 15m --wait 96
run status
