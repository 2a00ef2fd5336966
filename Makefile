# edgesnn: `make help` lists what there is to do. Nothing needs to be installed by hand.
PYTHON ?= python3
BOARD ?= virtual
VENV := .venv
RUN := $(VENV)/bin
SOURCES := pyproject.toml setup.py $(wildcard edgesnn/*.[ch] edgesnn/_build.py firmware/core/*.[ch] \
	firmware/app/*.[ch] firmware/boards/virtual/*.[ch])
C_FILES := $(wildcard edgesnn/*.[ch] firmware/core/*.[ch] firmware/app/*.[ch] \
	firmware/boards/*/*.[ch] tests/*.[ch])
# the boards that the tests and the demo run under emulation
EMULATED := mps2-an386

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

.PHONY: demo
demo: $(VENV)/demo.stamp $(if $(filter $(EMULATED),$(BOARD)),firmware) ## Watch recordings through a spiking network on a board (BOARD=virtual or mps2-an386)
	$(RUN)/edgesnn demo --board $(BOARD)

.PHONY: test
test: lint ## Set up all that the tests need, and run every one, emulated boards included
	@$(MAKE) --no-print-directory firmware BOARD=$(EMULATED)
	$(RUN)/python -m pytest

.PHONY: lint
lint: $(VENV)/dev.stamp ## Check formatting, lint and types of Python and C
	$(RUN)/ruff check
	$(RUN)/ruff format --check
	$(RUN)/clang-format --dry-run -Werror $(C_FILES)
	@mkdir -p build/typed/edgesnn
	@ln -sfn $(CURDIR)/edgesnn/*.py $(CURDIR)/edgesnn/py.typed build/typed/edgesnn/
	@for part in converters devices zoo; do ln -sfn $(CURDIR)/$$part build/typed/edgesnn/$$part; done
	MYPYPATH=build/typed $(RUN)/mypy -p edgesnn

.PHONY: format
format: $(VENV)/dev.stamp ## Format Python and C
	$(RUN)/ruff check --fix-only --quiet
	$(RUN)/ruff format
	$(RUN)/clang-format -i $(C_FILES)

.PHONY: firmware
firmware: ## Build the firmware of a board (BOARD=mps2-an386)
	@.ci/need $(PYTHON) gcc-arm-none-eabi qemu-system-arm
	$(MAKE) -C firmware BOARD=$(BOARD)

.PHONY: wheel
wheel: $(VENV)/dev.stamp ## Build a wheel and a source package into dist/
	$(RUN)/python -m build

.PHONY: clean
clean: ## Remove everything that was built, the virtual environment included
	rm -rf build dist .venv *.egg-info edgesnn/_core.c edgesnn/*.so

$(VENV)/pyvenv.cfg:
	@.ci/need $(PYTHON) gcc python3-dev python3-venv
	$(PYTHON) -m venv $(VENV)

# aeon brings the BasicMotions recordings; its data files are all that is wanted of it
$(VENV)/demo.stamp: $(VENV)/pyvenv.cfg $(SOURCES)
	$(RUN)/pip install --quiet --editable '.[demo]'
	$(RUN)/pip install --quiet --no-deps aeon
	@touch $@

$(VENV)/dev.stamp: $(VENV)/demo.stamp
	$(RUN)/pip install --quiet --editable '.[dev]'
	@touch $@
