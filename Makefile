# Bare `make` lists the targets. Every target sets up what it needs in .venv from nothing but Python and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export OMP_WAIT_POLICY := passive
export PYTHONDONTWRITEBYTECODE :=# every process of the program would compile it anew

.DEFAULT_GOAL := help
.PHONY: help demo test .wall .others unit explore long coverage mutants verify breaks kills entry-kills hostile claims lint bench clean lock docs wheel

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

$(READY): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY) ## from nothing to a closed position on the simulated exchange, no network, no keys
	@BIN=$(BIN) sh scripts/demo.sh

test: $(READY) ## every test
	$(MAKE) --keep-going --no-print-directory .wall .others

.wall: # they mostly wait; alone, since they look at a clock
	$(BIN)/python -m pytest -m "wall and not long" -n 10 --dist worksteal

.others: # in one call: to collect takes each worker seconds
	$(BIN)/python -m pytest -m "not wall and not long" -n 4 --dist worksteal

unit: $(READY) ## the quick tests only
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist worksteal

explore: $(READY) ## the quick tests with other examples of their properties than in every run
	TRADER_EXPLORE=1 $(BIN)/python -m pytest -m "not slow" -n 2 --dist worksteal

long: $(READY) ## slow tests whose siblings are in `test`; an hour or more
	$(BIN)/python -m pytest -m long -n 2 --dist worksteal

coverage: $(READY) ## which lines the tests reach, into docs/results.md; half an hour
	$(BIN)/python -m pytest -m "not wall and not long" -n 4 --dist worksteal --cov=trader_cli --cov-context=test --cov-report=
	$(BIN)/python scripts/coverage_page.py

mutants: $(READY) ## of 200 small mistakes in core, execution and tactician, how many the tests notice; after `coverage`; an hour
	nice -n 19 $(BIN)/python scripts/mutants.py --sample 200

verify: $(READY) ## does everything work together, offline
	$(BIN)/trader verify

breaks: $(READY) ## do `trader verify` and the tests see what is broken: breaks a copy in every way known; half an hour
	$(BIN)/python scripts/break_verify.py

kills: $(READY) ## kill fetch and features 150 times; five minutes
	TRADER_KILLS=50 $(BIN)/python -m pytest tests/integration/test_fetch_kills.py -s

entry-kills: $(READY) ## kill entries 200 times before their cover, endpoints slow; twenty minutes
	TRADER_ENTRY_KILLS=200 $(BIN)/python -m pytest tests/integration/test_entry_kills.py -s

hostile: $(READY) ## 2,000 entries while any endpoint is slow, lags or fails; an hour or more
	TRADER_HOSTILE=2000 $(BIN)/python -m pytest tests/integration/test_hostile_entries.py -n 2 --dist worksteal

claims: $(READY) ## how often markets without an edge claim one; ten minutes
	$(BIN)/python -m benchmarks claims

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(READY) .bench/pandas ## benchmarks, as ratios to references measured in the same run
	$(BIN)/python -m benchmarks

.bench/pandas: # what only references need, kept out of .venv: with pandas in sight TA-Lib and LightGBM import it
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target .bench pandas==3.1.1 python-dateutil==2.9.0.post0 six==1.17.0

.bench/vectorbt: $(READY) # rivals of the quick engine; half a gigabyte, so not part of `bench`
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --target $@ vectorbt==1.2.0 backtesting==0.6.6

# clients of others, which `python -m benchmarks.clients.walk` lets walk through the simulated exchange
.bench/clients: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --target $@ python-binance==1.0.37 \
	  binance-futures-connector==4.2.0 binance-sdk-derivatives-trading-usds-futures==18.1.0

docs: $(READY) ## write the generated parts of README.md and docs/
	$(BIN)/python -m docs.generate

wheel: $(READY) ## build a wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation -w dist .

lock: ## renew the lock files (needs pip-tools beside $(PYTHON))
	$(PYTHON) -m piptools compile -q --generate-hashes --allow-unsafe --strip-extras --no-annotate --no-header \
	  --no-emit-index-url --no-emit-find-links -o requirements.lock pyproject.toml
	$(PYTHON) -m piptools compile -q --generate-hashes --allow-unsafe --strip-extras --no-annotate --no-header \
	  --no-emit-index-url --no-emit-find-links --extra dev -o requirements-dev.lock pyproject.toml

clean: ## remove what can be made again; never a ledger
	rm -rf $(VENV) .coverage dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find cache -mindepth 1 ! -name README.md -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
