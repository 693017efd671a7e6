# `make demo` and `make test` need a Debian machine with Python 3.11 or later and nothing else installed by hand.

VENV ?= .venv
BIN := $(VENV)/bin
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/nmap-forwarder-tests

.PHONY: help demo test lint unit tools bench fuzz kibana clean

help:  ## show what can be made
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile

$(VENV)/installed: pyproject.toml hatch_build.py deploy/make-venv $(wildcard forwarder/nmap/fast/*.rs)
	bash deploy/make-venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

export ELASTICSEARCH_URL SETUP

demo: $(VENV)/installed  ## scan loopback services, seal, verify, tamper, verify again; ELASTICSEARCH_URL=… delivers, too
	$(BIN)/python docs/demo.py

test: lint unit  ## lint, types, unit and integration tests

lint: $(VENV)/installed  ## style, types, docstrings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/interrogate --quiet forwarder

tools:  ## fetch the servers and verifiers that the tests run
	bash tests/tools.sh $(CACHE)

WORKERS ?= $(shell n=$$(nproc); echo $$((n < 2 ? 2 : n)))

unit: $(VENV)/installed tools  ## all tests with coverage, WORKERS=… at a time
	rm -f .coverage .coverage.*
	PATH="$(abspath $(BIN)):$(CACHE)/bin:$$PATH" $(BIN)/coverage run -m pytest -n $(WORKERS) --dist loadfile tests
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include='forwarder/nmap/*,forwarder/ecs/*,forwarder/seal/*,forwarder/verify/*,forwarder/diff/*,forwarder/libnmap.py,forwarder/ledger.py,forwarder/pipeline.py' --fail-under=95

bench: $(VENV)/installed  ## compare with python-libnmap on a generated scan
	$(BIN)/python benchmarks/forward.py

FUZZ_SECONDS ?= 60
FUZZ := .fuzz

fuzz: $(VENV)/installed  ## fuzz the way from bytes to records; FUZZ_SECONDS=… for each target
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	for target in scan small hosts alike; do \
		mkdir -p $(FUZZ)/$$target && \
		$(BIN)/python tests/fuzz/run.py $$target $(FUZZ)/$$target tests/fuzz/corpus/$$target -max_len=4000 -len_control=0 -timeout=60 \
			-max_total_time=$(FUZZ_SECONDS) -artifact_prefix=$(FUZZ)/$$target- -print_final_stats=1 || exit 1; \
	done

kibana: $(VENV)/installed  ## make the files in kibana/ that Kibana imports
	$(BIN)/python kibana/make_dashboards.py
	$(BIN)/python kibana/make_rules.py

clean:  ## remove what was made here
	rm -rf $(VENV) demo-out .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis $(FUZZ)
