# The two commands of the README come first. Everything happens inside .venv; nothing else is touched.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
DEMO := runs/demo-eeg
SOURCES := setup.py pyproject.toml constraints.txt $(wildcard csrc/*/*)
# Without a GPU the CUDA kernels are only compiled, so one architecture is enough. A wheel for others:
# TORCH_CUDA_ARCH_LIST="7.5;8.0;8.6;9.0;10.0;12.0+PTX" pip wheel --no-build-isolation .
ifeq ($(shell command -v nvidia-smi),)
export TORCH_CUDA_ARCH_LIST ?= 9.0
endif

.PHONY: train test serve bench gpu lint clean
.DEFAULT_GOAL := train

train: $(DEMO)/bank.safetensors  ## from drawn faces and simulated EEG to a student and its report
	$(BIN)/python -m neurogaze_fast.train --amp --bank $<

# Simulated recordings -> maps -> teacher -> bank, once.
$(DEMO)/bank.safetensors: | $(VENV)/.installed
	rm -rf $(DEMO)
	$(BIN)/python -m neurogaze_fast.prepare eeg --demo --out $(DEMO)/eeg
	$(BIN)/python -m neurogaze_fast.train_teacher $(DEMO)/eeg --folds 0 --out $(DEMO)/teacher
	$(BIN)/python -m neurogaze_fast.build_prototypes $(DEMO)/teacher --out $@

test: $(VENV)/.installed-test  ## run the tests, a file at a time for each processor
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

serve: $(VENV)/.installed-serve $(VENV)/.installed-vision  ## the newest run as a web page
	$(BIN)/python -m neurogaze_fast.serve

bench: $(VENV)/.installed-bench  ## measure; tables in benchmarks/README.md
	$(BIN)/python -m pytest benchmarks -q --benchmark-columns=median,rounds --benchmark-sort=name

gpu:  ## tests, benchmarks and sanitizers on a CUDA device, with the torch that is installed there
	benchmarks/gpu_suite.sh

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) build *.egg-info neurogaze_fast/*.so

# Build requirements are installed first so that the build needs no isolated environment of its own,
# which would download torch a second time.
$(VENV)/.installed: $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt "setuptools>=77" wheel "pybind11>=2.13" "torch>=2.11" "ninja>=1.11"
	$(PIP) install -c constraints.txt --no-build-isolation -e ".[eeg]"
	touch $@

# By name, not by folder: what is installed is not built again, only the extra's packages come.
extra = $(PIP) install -q -c constraints.txt "neurogaze_fast[$(1)]"

$(VENV)/.installed-test: $(VENV)/.installed
	$(call extra,test)
	touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	$(call extra,bench)
	touch $@

$(VENV)/.installed-serve $(VENV)/.installed-vision: $(VENV)/.installed-%: $(VENV)/.installed
	$(call extra,$*)
	touch $@
