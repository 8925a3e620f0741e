# Every target sets up what it needs: Python 3.11 or newer, git and make are enough.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
MODEL ?= examples/lung-finder
OPTIONS ?=
UPGRADE ?=

.DEFAULT_GOAL := help
.PHONY: help demo test test-environments chaos chaos-short soak fuzz benchmark lint audit serve lock test-build test-image clean

help:  ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

demo: $(INSTALLED)  ## Find the lungs on a chest radiograph through the real service, and draw them in demo.png
	@$(BIN)/python examples/lung-finder/demo.py $(OPTIONS)

test: $(INSTALLED)  ## The whole suite, in parallel; OPTIONS="tests/app -k label" for a part
	@$(BIN)/python -m pytest -n logical $(OPTIONS)

test-environments: $(INSTALLED)  ## Old Pythons with TensorFlow 1, fastapi 0.40 and so on, built and served; minutes, needs the index
	@$(BIN)/python -m pytest -n logical -m environments --timeout 3600 $(OPTIONS)

chaos: $(INSTALLED)  ## The service under fire: 1,000 workers ended, 22 faults of models; OPTIONS="--kills 100 --json FILE"
	@$(BIN)/python -m chaos $(OPTIONS)

chaos-short: $(INSTALLED)  ## The same for a quarter of a minute; times are told and not judged
	@$(BIN)/python -m chaos --short $(OPTIONS)

soak: $(INSTALLED)  ## The same mix for an hour, with few kills: whether memory grows; OPTIONS="--minutes 600"
	@$(BIN)/python -m chaos --soak $(OPTIONS)

fuzz: $(INSTALLED) $(VENV)-fuzz/.installed  ## Requests made up from the OpenAPI document by schemathesis; OPTIONS="--seconds 600"
	@$(BIN)/python -m chaos.openapi $(VENV)-fuzz/bin/schemathesis $(OPTIONS)

benchmark: $(INSTALLED)  ## The service beside the reference's design, every row; OPTIONS="--record" keeps the figures
	@$(BIN)/python -m benchmarks all $(OPTIONS)

lint: $(INSTALLED)  ## Style, formatting, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: $(INSTALLED) $(VENV)-audit/.installed  ## What is known against the locked packages; exit code 3 where that cannot be told
	@$(BIN)/python tools/audit.py $(VENV)-audit/bin/pip-audit $(OPTIONS) requirements.lock requirements.server.lock requirements.build.lock

serve: $(INSTALLED)  ## Serve MODEL=package (default: the example); OPTIONS="--port 8000" and so on
	@$(BIN)/mdai-model serve $(MODEL) $(OPTIONS)

lock: $(INSTALLED)  ## Write requirements.lock anew from pyproject.toml; UPGRADE=1 takes the newest versions
	tools/lock.sh $(BIN)/uv $(if $(UPGRADE),--upgrade)

test-build: $(INSTALLED)  ## Bake a package into an image and run it, with buildah; as root, else it is skipped
	@tools/test_build.sh $(BIN)/python

test-image: $(INSTALLED)  ## The same with the CPU image itself, built and run first; as root on Debian, a few minutes
	@tools/test_image.sh $(BIN)/python

clean:  ## Remove the environment and everything generated
	rm -rf $(VENV) $(VENV)-fuzz $(VENV)-audit .venv-litserve .venv-py-spy dist demo.png .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What it brings conflicts with nothing, and is a dozen packages that nothing else needs.
$(VENV)-fuzz/.installed: $(INSTALLED)
	@$(BIN)/python -m venv --clear $(VENV)-fuzz
	@$(VENV)-fuzz/bin/python -m pip -qq --disable-pip-version-check install 'schemathesis>=4,<5' 'msgpack>=1.1,<2'
	@touch $@

# Likewise: it looks at the locks and at nothing that is installed.
$(VENV)-audit/.installed: $(INSTALLED)
	@$(BIN)/python -m venv --clear $(VENV)-audit
	@$(VENV)-audit/bin/python -m pip -qq --disable-pip-version-check install 'pip-audit>=2.7,<3'
	@touch $@

$(INSTALLED): requirements.lock pyproject.toml tools/setup.sh
	@tools/setup.sh $(VENV)
	@touch $@
