# Everything a fresh machine needs is Python 3.11 or newer, make, and the package registries.
#   make demo    the main job, on systems of its own; prints where the report is
#   make test    the tests, but those on Spark
#   make test-spark  these; installs PySpark and Java where they are missing
#   make lint    ruff and mypy
#   make sample  reports/sample anew
#   make bench   pull of 500,000 records, apply of 100,000 updates, and the table logic, measured; takes a quarter of an hour or more
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-spark lint sample bench format lock clean

demo: $(VENV)/.installed
	$(BIN)/recon demo

test: $(VENV)/.installed-dev
	$(BIN)/pytest -n 2 --dist worksteal -m "not spark" $(PYTEST_ARGS)

# One process: Java starts once, and uses all cores itself.
test-spark: $(VENV)/.installed-spark
	home=$$(.ci/java $(VENV)) && { [ -z "$$home" ] || export JAVA_HOME="$$home"; } && $(BIN)/pytest -m spark tests/tables $(PYTEST_ARGS)

sample: $(VENV)/.installed-dev
	$(BIN)/python reports/make_sample.py $(SAMPLE_ARGS)

# Smaller ones, say: make bench PULL_ARGS="--records 50000" APPLY_ARGS="--updates 1000" ENGINES_ARGS="--rows 50k"
PULL_ARGS ?= --records 50000 500000
APPLY_ARGS ?= --updates 10000 100000
ENGINES_ARGS ?= --again

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/pull.py $(PULL_ARGS)
	$(BIN)/python benchmarks/apply.py $(APPLY_ARGS)
	$(BIN)/python benchmarks/engines.py --only floor,diff,frames,merge,start $(ENGINES_ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Exact versions, for every Python that is supported; run it after a change of pyproject.toml's dependencies.
lock: $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet "uv>=0.9,<1"
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --no-header --no-annotate --upgrade -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --no-header --no-annotate --upgrade -o requirements-dev.lock
	$(BIN)/uv pip compile pyproject.toml --extra spark --constraint requirements-dev.lock --universal --python-version 3.11 --no-header --no-annotate --upgrade -o requirements-spark.lock
	sed -i "1i # Written by \`make lock\`: exact versions of everything that is installed. Ranges stand in pyproject.toml." requirements.lock requirements-dev.lock requirements-spark.lock

clean:
	rm -rf $(VENV) demo

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "recon needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps -e .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -r requirements-dev.lock
	@touch $@

$(VENV)/.installed-spark: requirements-spark.lock $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet -r requirements-spark.lock
	@touch $@
