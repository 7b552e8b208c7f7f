# Every target sets up what it needs: a clean clone, Python >= 3.11 and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PARITY := .venv-parity
PARITY_READY := $(PARITY)/.ready

export PIP_DISABLE_PIP_VERSION_CHECK = 1
# The pins hold for what builds the package too: older versions of pip read the first name for that, newer ones the second.
export PIP_CONSTRAINT = constraints.txt
export PIP_BUILD_CONSTRAINT = constraints.txt

.PHONY: help venv demo pictures test test-pages test-postgres lint format bench parity clean

help:  ## say what the targets do
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

venv: $(READY)  ## make .venv, with all that work on altprop needs

demo: $(READY)  ## in two minutes: every rule side by side, what backprop cannot, and why a digit was misread
	$(BIN)/altprop demo --overwrite

pictures: $(READY)  ## explain handwritten digits by every rule, for the README
	$(BIN)/altprop train --rule backprop --data mnist-5k --model lenet --lr 0.03 --epochs 15 --seeds 1 \
		--name mnist --overwrite
	$(BIN)/altprop explain --model runs/mnist --index 4,8,20 --name pictures --overwrite
	cp runs/pictures/explanations.svg docs/images/explain.svg

# A file's tests run in one process: what they share is trained, or started, once.
test: $(READY)  ## run the tests
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

test-postgres: $(READY)  ## run the tests of sweeps on a PostgreSQL server, installed if need be
	tests/postgres/run $(BIN)/python -m pytest -c tests/postgres/pytest.ini tests/postgres

test-pages: $(READY)  ## run the tests of pages in a browser, installed if need be; their screenshots stay
	tests/pages/run $(BIN)/python -m pytest -c tests/pages/pytest.ini tests/pages

lint: $(READY)  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## put the code in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## measure the time and memory of rules, and the time of explanations
	$(BIN)/python benchmarks/step_time.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/explain_time.py

# lfprop needs an old lxt; its newer version lies beside, and is found first by a process of its own.
parity: $(PARITY_READY)  ## compare with the published packages, in an environment of its own
	$(PARITY)/bin/python -m pytest -c tests/parity/pytest.ini tests/parity --ignore tests/parity/test_lxt.py
	PYTHONPATH=$(PARITY)/lxt-2$${PYTHONPATH:+:$$PYTHONPATH} \
		$(PARITY)/bin/python -m pytest -c tests/parity/pytest.ini tests/parity/test_lxt.py

clean:  ## remove the environments and what the tools left
	rm -rf $(VENV) $(PARITY) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "altprop needs Python >= 3.11; name one with: make PYTHON=/path/to/python ..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

# Where both pin a package, the pin of the parity tests holds: lfprop needs an old transformers.
$(PARITY_READY): tests/parity/requirements.txt tests/parity/requirements-alone.txt tests/parity/requirements-lxt.txt \
		tests/parity/constraints.txt constraints.txt pyproject.toml
	test -x $(PARITY)/bin/python || $(PYTHON) -m venv $(PARITY)
	awk -F== '{name = tolower($$1); gsub("_", "-", name)} NR == FNR {own[name]} NR == FNR || !(name in own)' \
		tests/parity/constraints.txt constraints.txt > $(PARITY)/constraints.txt
	PIP_CONSTRAINT=$(PARITY)/constraints.txt $(PARITY)/bin/pip install --quiet -r tests/parity/requirements.txt
	$(PARITY)/bin/pip install --quiet --no-deps -r tests/parity/requirements-alone.txt
	$(PARITY)/bin/pip install --quiet --no-deps --upgrade --target $(PARITY)/lxt-2 -r tests/parity/requirements-lxt.txt
	$(PARITY)/bin/pip install --quiet --no-deps --editable .
	@touch $@
