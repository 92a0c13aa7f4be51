# make test         set up and run the tests            (CELEBA=DIR adds those on real images)
# make experiment   set up and run the experiment       (CELEBA=DIR, STEPS=N, OUT=DIR, ARGS="…" pass through)
# make findings     the published claims judged on several seeds, within the hour   (CELEBA=DIR, STEPS=N, OUT=DIR, ARGS)
# make diet         which examples matter: scores, and training without the others   (CELEBA=DIR, OUT=DIR, ARGS)
# make certify      recompute the certified digits of the test vectors, in multiple and extended precision
# make test-peers   the tests against PyTorch and JAX   (installs torch by its exact version, where pip finds it)
# make test-browser the tests of a run's page in Chromium (installs it and its driver by apt-get, where they are missing)
# make bench        how fast lie_ref is beside PyTorch and JAX, where pip finds them   (ARGS="--quick" and others)
# make lint         formatting, style and types
# Each works from a fresh clone, with Python >= 3.10, make and a package index.

PYTHON ?= python3
BIN := .venv/bin
TORCH := torch==2.13.0
JAX := jax==0.10.2
SELENIUM := selenium==4.51.0
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)

test: $(BIN)/installed-test
	$(BIN)/python -m pytest -q -m "not torch and not jax and not browser"

test-peers: $(BIN)/installed-test
	$(BIN)/python -m pip install -q "$(TORCH)" "$(JAX)"
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "torch or jax"

test-browser: $(BIN)/installed-test
	command -v chromium && command -v chromedriver || \
		($(AS_ROOT) apt-get update -q && $(AS_ROOT) apt-get install -qy chromium chromium-driver)
	$(BIN)/python -m pip install -q --disable-pip-version-check "$(SELENIUM)"
	$(BIN)/python -m pytest -q -m browser

bench: $(BIN)/installed
	-$(BIN)/python -m pip install -q --disable-pip-version-check "$(TORCH)"
	-$(BIN)/python -m pip install -q --disable-pip-version-check "$(JAX)"
	$(BIN)/python -m tests.bench $(ARGS)

certify: $(BIN)/installed-test
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.certificates

experiment: $(BIN)/installed
	$(BIN)/python -m lie_ref experiment $(if $(CELEBA),--celeba "$(CELEBA)") $(if $(STEPS),--steps $(STEPS)) \
		$(if $(OUT),--out "$(OUT)") $(ARGS)

findings: $(BIN)/installed
	$(BIN)/python -m lie_ref findings $(if $(CELEBA),--celeba "$(CELEBA)") $(if $(STEPS),--steps $(STEPS)) \
		$(if $(OUT),--out "$(OUT)") $(ARGS)

diet: $(BIN)/installed
	$(BIN)/python -m lie_ref diet $(if $(CELEBA),--celeba "$(CELEBA)") $(if $(OUT),--out "$(OUT)") $(ARGS)

lint: $(BIN)/installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy lie_ref

$(BIN)/python:
	$(PYTHON) -m venv .venv

$(BIN)/installed: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	touch $@

$(BIN)/installed-test $(BIN)/installed-lint: $(BIN)/installed-%: $(BIN)/installed
	$(BIN)/python -m pip install -q --disable-pip-version-check -e ".[$*]"
	touch $@

clean:
	rm -rf .venv runs build *.egg-info

.PHONY: test test-peers test-browser bench certify experiment findings diet lint clean
