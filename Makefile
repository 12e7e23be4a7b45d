# `make` prints this menu; CI runs the same targets.
PYTHON ?= python3
EXTRAS ?= spark
BIN := .venv/bin
STAMP := .venv/.set-up
LOCKS := requirements.lock requirements-torch.lock requirements-uv.lock
# Where Python must not keep what it compiles, each process would compile torch anew.
COMPILE = $(if $(PYTHONDONTWRITEBYTECODE),--compile-bytecode)
INSTALL = $(BIN)/uv pip install --system-certs --quiet --python $(BIN)/python --no-deps $(COMPILE)

.DEFAULT_GOAL := menu
.PHONY: menu setup demo demo-stream demo-cluster kafka kafka-stop test test-dist test-faults test-s3 lint format \
  bench dist dist-env lock clean

menu:        ## print this menu
	@grep -hE '^[a-z0-9-]+: .*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv with the gristmill command in it; does nothing the second time

$(BIN)/uv: requirements-uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gristmill needs Python 3.11 or later; set PYTHON=...")'
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes --requirement requirements-uv.lock
	@touch $@

$(STAMP): $(BIN)/uv $(LOCKS) pyproject.toml conf/spark/ivy.xml conf/spark/ivysettings.xml
	$(INSTALL) --require-hashes --requirement requirements.lock
	$(if $(TORCH_INDEX),$(INSTALL) --index-url $(TORCH_INDEX) torch,$(INSTALL) --require-hashes --requirement requirements-torch.lock)
	$(INSTALL) --editable .
	$(BIN)/gristmill setup
	@touch $@

demo: setup  ## summarize a Delta table of financial reports, on this machine
	$(BIN)/gristmill demo conf/summarize.yml

demo-stream: setup ## stream customer events through a Kafka broker on this machine
	$(BIN)/gristmill demo-stream conf/marketing.yml

demo-cluster: setup dist ## submit the demo to a Spark cluster of two workers on this machine
	$(BIN)/gristmill demo-cluster conf/summarize.yml --dist dist

kafka: setup ## start a Kafka broker on this machine; it goes on until make kafka-stop
	$(BIN)/gristmill kafka start

kafka-stop:  ## stop it; its topics are kept in .gristmill/kafka
	$(BIN)/gristmill kafka stop

test: setup  ## run the tests, in two processes
	$(BIN)/pytest --numprocesses 2 --dist loadfile

test-dist: setup dist-env ## run tests against what dist-env builds, away from the checkout; TESTS=tests
	tests/support/against_dist.sh $(TESTS)

test-faults: setup ## the long tests: kill and disturb jobs, again and again; ROUNDS=20 TESTS=...
	FAULT_ROUNDS=$(or $(ROUNDS),20) $(BIN)/pytest $(or $(TESTS),tests/conf tests/jobs tests/udfs tests/faults)

test-s3: setup ## the tests whose tables are all in S3, on a server of their own; TESTS="-k pays_once"
	FAULT_ROUNDS=1 $(BIN)/pytest tests/jobs/test_s3.py $(TESTS)

lint: setup  ## check format, lint rules and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

format: setup ## format the code and mend what lint rules can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: setup ## run the benchmarks beside their peers; see docs/performance.md
	benchmarks/run.sh

dist: $(BIN)/uv ## build the wheel, the same as a zip for --py-files, and what spark-submit runs
	rm -rf dist
	$(BIN)/uv build --quiet --wheel --out-dir dist
	cd dist && for wheel in *.whl; do cp "$$wheel" "$${wheel%-py3-none-any.whl}.zip"; done
	cp conf/cluster/submit.py conf/cluster/spark.conf dist

dist-env: dist ## build an environment for --archives too, without Spark; EXTRAS=spark,mlflow
	$(BIN)/uv venv --quiet --relocatable --python $(PYTHON) .gristmill/environment --clear
	echo pyspark | $(BIN)/uv pip install --system-certs --quiet --python .gristmill/environment/bin/python \
	  --excludes - --constraints requirements.lock --constraints requirements-torch.lock "$$(ls dist/*.whl)[$(EXTRAS)]"
	tar -czf "$$(ls dist/*.zip | sed 's/.zip$$/-env.tar.gz/')" -C .gristmill/environment .

lock:        ## choose the newest versions that pyproject.toml allows, with hashes
	$(BIN)/uv pip compile pyproject.toml --extra all --group dev --universal --generate-hashes --upgrade \
	  --no-annotate --no-header --no-emit-index-url --no-emit-find-links --quiet --output-file requirements.lock
	awk '/^[a-z]/ {torch = /^(torch|triton|nvidia-|cuda-)/} {print > (torch ? "requirements-torch.lock" : "requirements.rest")}' requirements.lock
	mv requirements.rest requirements.lock

clean:       ## remove what setup and runs have made here
	rm -rf .venv .gristmill dist benchmarks/.venv
