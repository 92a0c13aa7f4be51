# make test          run the tests: 2 to 8 minutes (CELEBA=DIR adds the tests on real images)
# make experiment    run the experiment, draw its page: 3 to 15 minutes (CELEBA=DIR, STEPS=N, OUT=DIR, ARGS="…" are passed on)
# make findings      judge the published claims by runs with several seeds: an hour (CELEBA, STEPS, OUT, ARGS)
# make diet          find out which examples matter, and train without the others: half an hour (CELEBA, OUT, ARGS)
# make certify       recompute the certified digits of the test vectors, in multiple and extended precision (EVERY=5)
# make test-peers    run the tests against PyTorch and JAX, and on Dask and MPI (installs them)
# make test-browser  run the tests of the pages in Chromium (installs it and its driver by apt-get, if they are missing)
# make test-oldest   run the fast tests of the source distribution with the oldest NumPy, autograd and Pillow it allows
# make bench         measure the speed of lie_ref beside PyTorch and JAX (installs both; ARGS="--quick" is short)
# make tables        write the READMEs' tables and figures from data/results (ARGS="RUN NAME" takes a study in first)
# make picture       make the README's picture from a run on synthetic faces (OUT=DIR; needs Chromium, as test-browser)
# make mutants       change the code in 7,000 places and list those that no test notices (hours; ARGS="NAME…" is less)
# make lint          check formatting, style and types
# make clean         delete what was installed or built; `make clean-runs` deletes all runs, and says what they were
#
# Each works in a fresh clone with Python >= 3.10, make and a package index, and sets up `.venv` first.

PYTHON ?= python3
BIN := .venv/bin
TORCH := torch==2.13.0
JAX := jax==0.10.2
DASK := dask[distributed]==2026.8.0
MPI := mpi4py==4.1.2 mpich==5.0.2
SELENIUM := selenium==4.51.0
MUTMUT := mutmut==3.8.1
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)

help:
	@sed -n '/^# make /s/^# //p' Makefile

test: $(BIN)/installed-test
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 -m "not torch and not jax and not dask and not mpi and not browser"

test-peers: $(BIN)/installed-test
	$(BIN)/python -m pip install -q "$(TORCH)" "$(JAX)" "$(DASK)" $(MPI)
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 -m "torch or jax or dask or mpi"

browser: $(BIN)/installed-test
	command -v chromium && command -v chromedriver || \
		($(AS_ROOT) apt-get update -q && $(AS_ROOT) apt-get install -qy chromium chromium-driver)
	$(BIN)/python -m pip install -q --disable-pip-version-check "$(SELENIUM)"

OLDEST = $(shell sed -n 's/^dependencies = //p' pyproject.toml | tr -d '[],"' | sed 's/>=/==/g')
test-oldest: $(BIN)/installed-test
	rm -rf build/oldest
	$(BIN)/python -m pip install -q --disable-pip-version-check build
	$(BIN)/python -m build -q --sdist --outdir build/oldest
	cd build/oldest && tar xzf lie_ref-*.tar.gz --strip-components=1 && $(abspath $(BIN))/python -m venv .venv && \
		$(BIN)/python -m pip install -q --disable-pip-version-check -e ".[test]" $(OLDEST) && \
		$(BIN)/python -m pytest -q -n auto --maxprocesses 4 tests/core tests/fast tests/measure tests/images

test-browser: browser
	$(BIN)/python -m pytest -q -m browser

tables: $(BIN)/installed-test
	PYTHONPATH=tests $(BIN)/python -m readme_tables $(ARGS)

picture: browser
	test -f "$(or $(OUT),runs/experiment)/summary.json" || $(MAKE) experiment
	$(BIN)/python -m tests.browser.picture "$(or $(OUT),runs/experiment)" data/figures/explorer.png

bench: $(BIN)/installed
	-$(BIN)/python -m pip install -q --disable-pip-version-check "$(TORCH)"
	-$(BIN)/python -m pip install -q --disable-pip-version-check "$(JAX)"
	$(BIN)/python -m tests.bench $(ARGS)
	$(BIN)/python -m tests.bench.scale
	$(BIN)/python -m tests.bench.checkers
	-$(BIN)/python -m tests.bench.digits

certify: $(BIN)/installed-test
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.certificates $(EVERY)

experiment: $(BIN)/installed
	$(BIN)/python -m lie_ref experiment $(if $(CELEBA),--celeba "$(CELEBA)") $(if $(STEPS),--steps $(STEPS)) \
		$(if $(OUT),--out "$(OUT)") $(ARGS)

findings: $(BIN)/installed
	$(BIN)/python -m lie_ref findings $(if $(CELEBA),--celeba "$(CELEBA)") $(if $(STEPS),--steps $(STEPS)) \
		$(if $(OUT),--out "$(OUT)") $(ARGS)

diet: $(BIN)/installed
	$(BIN)/python -m lie_ref diet $(if $(CELEBA),--celeba "$(CELEBA)") $(if $(OUT),--out "$(OUT)") $(ARGS)

mutants: $(BIN)/installed-test
	$(BIN)/python -m pip install -q --disable-pip-version-check "$(MUTMUT)"
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/mutmut run $(ARGS)
	$(BIN)/mutmut results

lint: $(BIN)/installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy lie_ref

$(BIN)/python:
	$(PYTHON) -m venv .venv

$(BIN)/installed: $(BIN)/python pyproject.toml lie_ref/__init__.py
	$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	touch $@

$(BIN)/installed-test $(BIN)/installed-lint: $(BIN)/installed-%: $(BIN)/installed
	$(BIN)/python -m pip install -q --disable-pip-version-check -e ".[$*]"
	touch $@

clean:
	rm -rf .venv build mutants *.egg-info

clean-runs:
	@if [ -d runs ]; then du -sh runs/* && rm -r runs && echo "all of it is deleted"; else echo "there is no folder runs"; fi

.PHONY: test test-peers test-oldest test-browser browser tables picture bench certify experiment findings diet mutants lint \
	help clean clean-runs
