# `make` prints this menu; CI runs the same targets.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.set-up
LOCKS := requirements.lock requirements-torch.lock requirements-uv.lock
INSTALL = $(BIN)/uv pip install --system-certs --quiet --python $(BIN)/python --no-deps

.DEFAULT_GOAL := menu
.PHONY: menu setup demo demo-stream kafka kafka-stop test test-faults lint format bench dist lock clean

menu:        ## print this menu
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv with the gristmill command in it; does nothing the second time

$(STAMP): $(LOCKS) pyproject.toml conf/spark/ivy.xml conf/spark/ivysettings.xml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gristmill needs Python 3.11 or later; set PYTHON=...")'
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes --requirement requirements-uv.lock
	$(INSTALL) --require-hashes --requirement requirements.lock
	$(if $(TORCH_INDEX),$(INSTALL) --index-url $(TORCH_INDEX) torch,$(INSTALL) --require-hashes --requirement requirements-torch.lock)
	$(INSTALL) --editable .
	$(BIN)/gristmill setup
	@touch $@

demo: setup  ## summarize a Delta table of financial reports, on this machine
	$(BIN)/gristmill demo conf/summarize.yml

demo-stream: setup ## stream customer events through a Kafka broker on this machine
	$(BIN)/gristmill demo-stream conf/marketing.yml

kafka: setup ## start a Kafka broker on this machine; it goes on until make kafka-stop
	$(BIN)/gristmill kafka start

kafka-stop:  ## stop it; its topics are kept in .gristmill/kafka
	$(BIN)/gristmill kafka stop

test: setup  ## run the tests
	$(BIN)/pytest

test-faults: setup ## the long tests: kill and disturb jobs, again and again; ROUNDS=20
	FAULT_ROUNDS=$(or $(ROUNDS),20) $(BIN)/pytest tests/jobs

lint: setup  ## check format, lint rules and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

format: setup ## format the code and mend what lint rules can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: setup ## run the benchmarks beside their peers; see docs/performance.md
	benchmarks/run.sh

dist: setup  ## build the wheel, and the same as a zip for --py-files
	rm -rf dist
	$(BIN)/uv build --wheel --out-dir dist
	cd dist && for wheel in *.whl; do cp "$$wheel" "$${wheel%-py3-none-any.whl}.zip"; done

lock:        ## choose the newest versions that pyproject.toml allows, with hashes
	$(BIN)/uv pip compile pyproject.toml --extra all --group dev --universal --generate-hashes --upgrade \
	  --no-annotate --no-header --no-emit-index-url --no-emit-find-links --quiet --output-file requirements.lock
	awk '/^[a-z]/ {torch = /^(torch|triton|nvidia-|cuda-)/} {print > (torch ? "requirements-torch.lock" : "requirements.rest")}' requirements.lock
	mv requirements.rest requirements.lock

clean:       ## remove what setup and runs have made here
	rm -rf .venv .gristmill dist benchmarks/.venv
