# Every target sets up what it needs: Python 3.11 or newer, git and make are enough.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
MODEL ?= examples/lung-finder
OPTIONS ?=
UPGRADE ?=

.DEFAULT_GOAL := help
.PHONY: help demo test test-environments lint serve lock test-build test-image clean

help:  ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

demo: $(INSTALLED)  ## Find the lungs on a chest radiograph through the real service, and draw them in demo.png
	@$(BIN)/python examples/lung-finder/demo.py $(OPTIONS)

test: $(INSTALLED)  ## The whole suite, in parallel; OPTIONS="tests/app -k label" for a part
	@$(BIN)/python -m pytest -n logical $(OPTIONS)

test-environments: $(INSTALLED)  ## Old Pythons with TensorFlow 1, fastapi 0.40 and so on, built and served; minutes, needs the index
	@$(BIN)/python -m pytest -n logical -m environments $(OPTIONS)

lint: $(INSTALLED)  ## Style, formatting, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

serve: $(INSTALLED)  ## Serve MODEL=package (default: the example); OPTIONS="--port 8000" and so on
	@$(BIN)/mdai-model serve $(MODEL) $(OPTIONS)

lock: $(INSTALLED)  ## Write requirements.lock anew from pyproject.toml; UPGRADE=1 takes the newest versions
	tools/lock.sh $(BIN)/uv $(if $(UPGRADE),--upgrade)

test-build: $(INSTALLED)  ## Bake a package into an image and run it, with buildah; as root, else it is skipped
	@tools/test_build.sh $(BIN)/python

test-image: $(INSTALLED)  ## The same with the CPU image itself, built and run first; as root on Debian, a few minutes
	@tools/test_image.sh $(BIN)/python

clean:  ## Remove the environment and everything generated
	rm -rf $(VENV) dist demo.png .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): requirements.lock pyproject.toml tools/setup.sh
	@tools/setup.sh $(VENV)
	@touch $@
