# The two commands of the README come first. Everything happens inside .venv; nothing else is touched.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
DEMO := runs/demo-eeg
SOURCES := setup.py pyproject.toml constraints.txt $(wildcard requirements/*.txt) $(wildcard csrc/*/*)
# Without a GPU the CUDA kernels can only be compiled, not run: `make test` does it, for one
# architecture; `make train` need not wait for it. A wheel for others:
# TORCH_CUDA_ARCH_LIST="7.5;8.0;8.6;9.0;10.0;12.0+PTX" pip wheel --no-build-isolation .
ifeq ($(shell command -v nvidia-smi),)
export TORCH_CUDA_ARCH_LIST ?= 9.0
NATIVE := NEUROGAZE_BUILD_NATIVE=$${NEUROGAZE_BUILD_NATIVE:-cpu}
COMPILE_CUDA := NEUROGAZE_BUILD_NATIVE=$${NEUROGAZE_BUILD_NATIVE:-cuda} $(BIN)/python setup.py -q build_ext --inplace
endif
# Modules are compiled where they are first imported, not by pip: that is a tenth of them. The folder
# is this file's own, so nobody's wish to be spared .pyc files is meant.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: train test test-plain coverage serve docs bench scorecard gpu lint lock clean
.DEFAULT_GOAL := train

train: $(DEMO)/bank.safetensors  ## from drawn faces and simulated EEG to a student and its report
	$(BIN)/python -m neurogaze_fast.train --amp --bank $<

# Simulated recordings -> maps -> teacher -> bank, once. On these, six epochs give a teacher as good as
# twelve: valence and arousal correlate by 0.61 and 0.62 with the ratings, by 0.60 and 0.60 (ccc).
$(DEMO)/bank.safetensors: | $(VENV)/.installed
	rm -rf $(DEMO)
	$(BIN)/python -m neurogaze_fast.prepare eeg --demo --out $(DEMO)/eeg
	$(BIN)/python -m neurogaze_fast.train_teacher $(DEMO)/eeg --folds 0 --epochs 6 --out $(DEMO)/teacher
	$(BIN)/python -m neurogaze_fast.build_prototypes $(DEMO)/teacher --out $@

# A process that crashed is not replaced: what it had left to run would be waited for without an end.
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
	--max-worker-restart 0

test: $(VENV)/.installed-test  ## run the tests, a file at a time for each processor
	$(PYTEST) --durations=25 --durations-min=2

# What a machine without a compiler runs: the operators in plain torch, fer2013.csv read by Python.
PLAIN := tests/reference tests/faces/test_fer_csv.py tests/faces/test_ferplus.py tests/eeg/test_maps.py \
	tests/teacher/test_training.py tests/student/test_step.py tests/test_witness.py \
	tests/test_commands.py::test_run_folder_holds_everything \
	tests/test_commands.py::test_every_variant_runs

test-plain: $(VENV)/.installed-test  ## what trains and reads, without the native libraries
	NEUROGAZE_NATIVE=0 $(PYTEST) -q $(PLAIN)

coverage: $(VENV)/.installed-test  ## which lines the tests run, child processes too: build/coverage/html
	$(PYTEST) --cov --cov-report=term:skip-covered --cov-report=html

serve: $(VENV)/.installed-serve  ## the model inside the package as a web page
	$(BIN)/python -m neurogaze_fast.serve

docs: $(VENV)/.installed-docs  ## the documentation as a site: build/docs/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench: $(VENV)/.installed-bench  ## measure; tables in benchmarks/README.md
	$(BIN)/python -m pytest benchmarks -q --benchmark-columns=median,rounds --benchmark-sort=name

scorecard: $(VENV)/.installed-bench $(VENV)/.installed-test  ## faults on purpose, counted: 40 minutes
	$(BIN)/python -m benchmarks.scorecard

gpu:  ## tests, benchmarks and sanitizers on a CUDA device, with the torch that is installed there
	benchmarks/gpu_suite.sh

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build *.egg-info neurogaze_fast/*.so

# CPython 3.11 on Linux x86_64 takes what the lock files name, file by file; any other takes what
# constraints.txt names, and the newest of the rest.
LOCKED := $(BIN)/python -c 'import platform as p, sys; \
	here = p.python_implementation(), p.system(), p.machine(), *sys.version_info[:2]; \
	sys.exit(here != ("CPython", "Linux", "x86_64", 3, 11))'
BUILD := "setuptools>=77" wheel "pybind11>=2.13" "torch>=2.11" "ninja>=1.11"

# Build requirements are installed first so that the build needs no isolated environment of its own,
# which would download torch a second time.
#
# CUDA's libraries are half of the work, and pip fetches and unpacks one package at a time: so two of
# it go side by side. The lock file names everything, so neither has to look for what the other has.
LOCK := $(PIP) install -q --no-deps --no-compile --require-hashes
$(VENV)/.installed: $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	if $(LOCKED); then \
		grep -E '^(cuda|nvidia)-' requirements/train.txt > $(VENV)/cuda.txt && \
		grep -vE '^(cuda|nvidia)-' requirements/train.txt > $(VENV)/others.txt && \
		{ $(LOCK) -r $(VENV)/cuda.txt & } && \
		{ $(LOCK) -r $(VENV)/others.txt; others=$$?; wait $$! && test $$others = 0; } && \
		$(NATIVE) $(PIP) install --no-deps --no-build-isolation -e .; \
	else \
		$(PIP) install -q --no-compile -c constraints.txt $(BUILD) && \
		$(NATIVE) $(PIP) install --no-compile -c constraints.txt --no-build-isolation -e ".[eeg]"; \
	fi
	touch $@

# By name, not by folder: what is installed is not built again, only the extras' packages come.
extras-serve := serve,vision
extras-test := test
extras-bench := bench
extras-docs := docs
$(VENV)/.installed-serve $(VENV)/.installed-test $(VENV)/.installed-bench $(VENV)/.installed-docs: \
		$(VENV)/.installed-%: $(VENV)/.installed
	if $(LOCKED); then \
		$(PIP) install -q --require-hashes -r requirements/$*.txt; \
	else \
		$(PIP) install -q -c constraints.txt "neurogaze_fast[$(extras-$*)]"; \
	fi
	$(if $(filter test,$*),$(COMPILE_CUDA))
	touch $@

lock:  ## name the packages of every command with their hashes anew (constraints.txt has the versions)
	$(BIN)/python requirements/lock.py
