# orthanc_al: the two commands for newcomers are `make run` and `make test`.
PYTHON ?= python3
# Only for training (`make train`): the exact build; override it for a GPU build or another platform.
TORCH ?= torch==2.13.0
# Folder of studies for `make run`; empty sends the synthetic demo films.
STUDIES ?=
# What pytest gets beside the defaults, e.g. `make test T="-k spool -x"`.
T ?=
# Tests at the same time: a process each; 0 runs them in one. Most wait for others more than they work.
JOBS ?= auto
# Where `make train` puts the package: a new folder, since a package is never overwritten.
OUT ?= var/cxr-pneumonia
# What the benchmark gets beside the defaults, e.g. `make bench B="--rounds 1 --only receive"`.
B ?=
# Extras that the benchmark needs here, e.g. `make bench EXTRAS=cuda13 B="--only gpu"` (gigabytes, NVIDIA's licence).
EXTRAS ?=
# What the faults get beside the defaults, e.g. `make chaos C="--only kill --seed 7"`.
C ?=
# Where `make test-inference-server` keeps MLServer: its own environment, some 500 MB.
MLSERVER ?= var/mlserver
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help run test check bench chaos bench-learning train docker-test migration clean parts finetune test-orthanc-current test-inference-server
help:            ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

# A stamp, made anew when pyproject.toml changes.
$(VENV)/.installed: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "Python's venv module is missing: apt-get install python3-venv (or set PYTHON=...)"; exit 1; }
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..."; rm -rf $(VENV); exit 1; }
	@echo "Installing orthanc_al into $(VENV) (some 400 MB from the package registry, once) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@
$(VENV)/.installed-dev: $(VENV)/.installed
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
$(VENV)/.installed-finetune: $(VENV)/.installed
	@$(BIN)/pip install --quiet --disable-pip-version-check '$(TORCH)'
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[finetune]'
	@touch $@

run: $(VENV)/.installed   ## start the service with demo studies: http://127.0.0.1:8080
	@$(BIN)/orthanc-al demo $(if $(STUDIES),--studies "$(STUDIES)")

test: $(VENV)/.installed-dev parts   ## all tests (under 20 minutes on two cores)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(T)

check: $(VENV)/.installed-dev   ## lint, types, imports, documents
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/docs

# What is measured of a GPU needs no other program.
bench: $(VENV)/.installed-dev $(if $(findstring gpu,$(B)),,parts)   ## side by side with DCMTK and Orthanc: docs/performance.md
	@$(if $(EXTRAS),$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]')
	@$(BIN)/python -m tests.bench.compare $(B)

chaos: $(VENV)/.installed-dev parts   ## kill, fill disks, cut wires, mutate PDUs: docs/reliability.md
	@$(BIN)/python -m tests.chaos.run $(C)

bench-learning: $(VENV)/.installed-dev finetune   ## the learning loop's tables and plots; DATA=folder for your own images
	@OPENBLAS_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m tests.bench.learning $(if $(DATA),--data "$(DATA)") $(B)

train: $(VENV)/.installed-finetune   ## train a package like models/cxr-pneumonia from DATA=folder of films
	@test -n "$(DATA)" || { echo "name the data: make train DATA=folder (docs/learning.md)"; exit 2; }
	@$(BIN)/orthanc-al train-factory --data "$(DATA)" --out "$(OUT)"

# Where `make test-orthanc-current` keeps Debian 13.
CURRENT ?= var/debian-13
test-orthanc-current: $(VENV)/.installed-dev parts   ## the tests with Orthanc, with Debian 13's (1.12.7); as root
	@sh tests/install-orthanc-current.sh "$(CURRENT)"
	@ORTHANC_AL_TEST_ORTHANC_ROOT="$$(realpath "$(CURRENT)")" $(BIN)/python -m pytest -m needs_orthanc $(T)

finetune: $(VENV)/.installed-finetune

parts:           ## install the programs that the tests talk to (Orthanc, DCMTK, dicom3tools, Chromium, npm, nginx)
	@sh tests/install-parts.sh

test-inference-server: $(VENV)/.installed-dev   ## the contract of what runs a network, on a real MLServer
	@test -x "$(MLSERVER)/bin/mlserver" || { $(PYTHON) -m venv "$(MLSERVER)" && \
	  "$(MLSERVER)/bin/pip" install --quiet --disable-pip-version-check mlserver onnxruntime; }
	@ORTHANC_AL_TEST_MLSERVER="$$(realpath "$(MLSERVER)")" $(BIN)/python -m pytest tests/contract/scorer_test.py $(T)

docker-test:     ## build the images and run studies through the containers (docker or podman)
	@bash docker/test.sh

migration: $(VENV)/.installed-dev   ## write the next migration from ledger/schema.py: M="what changes"
	@$(BIN)/python -m tests.support.new_migration "$(M)"

clean:           ## remove what was installed and made
	rm -rf $(VENV) var .pytest_cache .mypy_cache .ruff_cache .hypothesis
