# make run   set up and run the whole pipeline on MovieLens-100k
# make test  set up and pass tests, lint, types and import rules
# make test-spark  the tests that need Spark; they need Java, and fetch pyspark (450 MB) once
# make test-airflow  the tests that need Airflow; they fetch it (300 MB) once
# make test-quick  the unit tests alone, for every edit: no pipeline, no server, no browser
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test test-quick test-spark test-airflow check setup viz mlflow notebook serve bench bench-check bench-serving clean

run: setup
	$(BIN)/kedro run --pipeline=full

# Workers take a file of tests at a time, slow files first, and share one finished project. Coverage is that of the
# unit tests (tests/conftest.py). Bytecode is kept, whatever the shell says: compiling costs every process seconds.
# One worker more than cores, since tests wait for servers and for processes that they start.
WORKERS ?= 3
PYTEST = PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder

test: setup check
	$(PYTEST) --cov --cov-report=term:skip-covered

# Unit tests wait for nothing: a third worker would only cost its imports, and time of the caches.
test-quick: WORKERS = 2
test-quick: setup
	$(PYTEST) -m 'not slow'

# One process, one session. pyspark is beside the environment: Great Expectations imports it wherever it is, which costs
# every run seconds. JAVA_HOME or `java` on the path.
test-spark: setup .spark/installed
	PYTHONDONTWRITEBYTECODE= PYTHONPATH=$(CURDIR)/.spark$${PYTHONPATH:+:$$PYTHONPATH} PINET_NEEDS_SPARK=1 \
		$(BIN)/python -m pytest tests/engines -m spark

.spark/installed: constraints.txt
	rm -rf .spark
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --target .spark pyspark
	touch $@

# Airflow has an environment of its own: it pins a hundred packages. The DAGs reach the project through its folder alone.
test-airflow: setup .airflow/installed
	PYTHONDONTWRITEBYTECODE= PINET_AIRFLOW=$(CURDIR)/.airflow/bin $(BIN)/python -m pytest tests/scheduling -m airflow

.airflow/installed: tests/airflow-requirements.txt
	rm -rf .airflow
	$(PYTHON) -m venv .airflow
	.airflow/bin/python -m pip install --quiet --disable-pip-version-check --requirement tests/airflow-requirements.txt
	touch $@

check: setup
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check src tests
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

viz: setup
	$(BIN)/kedro viz

mlflow: setup
	$(BIN)/mlflow ui --backend-store-uri sqlite:///mlflow.db

# Installs JupyterLab, which nothing else needs
notebook: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[notebook]'
	$(BIN)/jupyter lab notebooks/results.ipynb

serve: setup
	$(BIN)/kedro serve

# Minutes; BENCH="step rivals" measures these alone
bench: setup
	$(BIN)/python tests/benchmarks/suite.py $(BENCH)

# Counts, not seconds: fails where something has become dearer
bench-check: setup
	$(BIN)/python tests/benchmarks/check.py

# A minute of load on a running `make serve`; ITEMS: a JSON list of item ids
ITEMS ?= data/06_models/pin/items.json
bench-serving: setup
	$(BIN)/python tests/benchmarks/serving_load.py --rate=200 --seconds=60 --items=$(ITEMS)

clean:
	rm -rf .venv .spark .airflow .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
