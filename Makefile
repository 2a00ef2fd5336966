# edgesnn: `make help` lists what there is to do. Nothing needs to be installed by hand.
PYTHON ?= python3
BOARD ?= virtual
VENV := .venv
RUN := $(VENV)/bin
SOURCES := pyproject.toml setup.py $(wildcard edgesnn/*.[ch] edgesnn/_build.py firmware/core/*.[ch] \
	firmware/app/*.[ch] firmware/signature/* firmware/boards/signal/*.[ch] firmware/boards/virtual/*.[ch])
C_FILES := $(wildcard edgesnn/*.[ch] firmware/core/*.[ch] firmware/app/*.[ch] \
	firmware/boards/*/*.[ch] firmware/boards/*/*/*.[ch] firmware/signature/*.[ch] firmware/count/*.[ch] \
	firmware/size/*.[ch] firmware/nus/*.[ch] firmware/nus/*/*/*.c firmware/export/*/*.c \
	firmware/export/*/*.hpp firmware/export/*/*/*.c tests/*.[ch] tests/fuzz/*.c tests/prove/*.c)
# the boards that the tests and the demo run under emulation
EMULATED := microbit mps2-an385 mps2-an386 mps2-an500 mps2-an505 mps3-an547 stm32f405 virt-rv32

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

.PHONY: demo
demo: $(VENV)/demo.stamp $(if $(filter $(EMULATED),$(BOARD)),firmware) ## Watch recordings through a spiking network on a board (BOARD=virtual or an emulated one)
	$(RUN)/edgesnn demo --board $(BOARD)

.PHONY: test
test: lint ## Set up all that the tests need, and run every one, emulated boards included
	@.ci/need $(PYTHON) android-libnativehelper-dev clang libclang-rt-dev dbus-daemon g++ openocd stm32flash qemu-user gcc-arm-linux-gnueabihf libc6-dev-armhf-cross \
		$(if $(filter x86_64,$(shell uname -m)),gcc-$$(gcc -dumpversion | cut -d. -f1)-multilib) \
		$(if $(filter-out aarch64,$(shell uname -m)),gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
	@$(MAKE) --no-print-directory firmware BOARD="$(EMULATED)"
	$(RUN)/python -m pytest

# a share of all of it: of `soak` a week of a watch through the virtual board and a day through an
# emulated one, 10,000,000 and 100,000 frames as fast as they go, bad links, 1,000 killed hosts; of
# `powercuts` 1,000,000 updates
BUDGET ?= 1

.PHONY: soak
soak: $(VENV)/dev.stamp ## Stream a week of a watch, bad links, killed hosts (BUDGET=0.01 for a taste, PARTS="week")
	@$(MAKE) --no-print-directory firmware BOARD=mps2-an386
	$(RUN)/python tests/soak.py --budget $(BUDGET) $(PARTS)

.PHONY: fuzz
fuzz: $(VENV)/dev.stamp ## Fuzz loader, decoder and stream app, coverage-guided (BUDGET=0.01 for a taste)
	@.ci/need $(PYTHON) clang libclang-rt-dev
	$(RUN)/python tests/fuzzing.py --budget $(BUDGET)
	$(RUN)/python tests/readers.py --budget $(BUDGET)

# an evolution with its flights in 64 KB of RAM in all
SMALL = OUT=../build/firmware-64k/mps2-an386 BOARD=mps2-an386 RAM_SIZE=64K STACK_SIZE=4K \
	SIZES="-DMODEL_BYTES=49152 -DARENA_BYTES=3072 -DPACKET_BYTES=2064 -DRING=2048u"

.PHONY: cov
cov: $(VENV)/dev.stamp ## Measure which lines and branches of the core, the app and the Python packages the tests run
	@.ci/need $(PYTHON) clang libclang-rt-dev llvm dbus-daemon g++ stm32flash
	@$(MAKE) --no-print-directory firmware BOARD="$(EMULATED)"
	$(RUN)/python tests/covered.py

.PHONY: mutants
mutants: $(VENV)/dev.stamp ## Change the core in thousands of small ways, which tests must notice (BUDGET=0.01 for a taste)
	@.ci/need $(PYTHON) gcc
	$(RUN)/python tests/mutants.py --budget $(BUDGET)

.PHONY: blimp
blimp: $(VENV)/dev.stamp ## Evolve the blimp's controllers and print their table (BUDGET=0.05 for a taste)
	@.ci/need $(PYTHON) gcc gcc-arm-none-eabi qemu-system-arm
	@$(MAKE) --no-print-directory -C firmware $(SMALL)
	$(RUN)/python -m edgesnn.blimp.table --budget $(BUDGET)

.PHONY: powercuts
powercuts: $(VENV)/dev.stamp ## Cut the power in the middle of a million updates (BUDGET=0.01 for a taste)
	PYTHONPATH=. $(RUN)/python tests/powercut.py --budget $(BUDGET)

.PHONY: zoo
zoo: $(VENV)/demo.stamp ## Judge every trained network, and compare with the committed figures (docs/zoo.md)
	@.ci/need $(PYTHON) gcc gcc-arm-none-eabi qemu-system-arm
	$(RUN)/python -m edgesnn.zoo.table

.PHONY: bench-link
bench-link: $(VENV)/dev.stamp ## Print frames a second and round trips of boards and of a paced serial line
	@$(MAKE) --no-print-directory firmware BOARD=mps2-an386
	$(RUN)/python -m edgesnn.devices.bench

.PHONY: lint
lint: $(VENV)/dev.stamp ## Check formatting, lint and types of Python and C
	$(RUN)/ruff check
	$(RUN)/ruff format --check
	$(RUN)/clang-format --dry-run -Werror $(C_FILES)
	@mkdir -p build/typed/edgesnn
	@ln -sfn $(CURDIR)/edgesnn/*.py $(CURDIR)/edgesnn/py.typed build/typed/edgesnn/
	@for part in blimp converters devices zoo; do ln -sfn $(CURDIR)/$$part build/typed/edgesnn/$$part; done
	MYPYPATH=build/typed $(RUN)/mypy -p edgesnn

.PHONY: analyse
analyse: $(VENV)/dev.stamp ## Analyse core and stream app: clang-tidy, cppcheck, gcc's analyser, MISRA (docs/misra.md)
	@.ci/need $(PYTHON) gcc cppcheck
	$(RUN)/python tests/analyse.py $(WRITE)

.PHONY: prove
prove: $(VENV)/dev.stamp ## Prove the decoder's and the loader's array bounds for all inputs, with Frama-C
	@.ci/need $(PYTHON) frama-c-base
	$(RUN)/python tests/prove.py

.PHONY: format
format: $(VENV)/dev.stamp ## Format Python and C
	$(RUN)/ruff check --fix-only --quiet
	$(RUN)/ruff format
	$(RUN)/clang-format -i $(C_FILES)

# virtual, the default of BOARD, is no board to build firmware for
FIRMWARE = $(or $(filter-out virtual,$(BOARD)),$(EMULATED))

.PHONY: firmware
firmware: $(VENV)/pyvenv.cfg ## Build the firmware of all emulated boards, or of one (BOARD=microbit)
	@.ci/need $(PYTHON) \
		$(if $(filter-out virt-rv32,$(FIRMWARE)),gcc-arm-none-eabi qemu-system-arm) \
		$(if $(filter virt-rv32,$(FIRMWARE)),gcc-riscv64-unknown-elf qemu-system-misc)
	@for board in $(FIRMWARE); do \
		$(MAKE) --no-print-directory -C firmware BOARD=$$board PYTHON=$(CURDIR)/$(RUN)/python || exit 1; \
	done

.PHONY: packages
packages: $(VENV)/demo.stamp ## Make packages of the core for Arduino, PlatformIO, Zephyr, ESP-IDF, CMSIS, CMake and as one file
	$(RUN)/python -m firmware.packages.packages

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

# the frameworks whose arithmetic tests/golden holds, each in an environment of its own
GOLDEN := snntorch-0.9.1 snntorch-1.0.0 spikingjelly-2.0.0 norse-1.1.0 sinabs-3.1.3 rockpool-3.1.0 \
	brevitas-0.13.4 ai-edge-litert-2.3.0 tflite-micro-0.dev20261023182759 tensorflow-cpu-2.21.0 \
	keras-3.15.1 nir-0.2.0 nir-1.0.8

.PHONY: golden
golden: $(VENV)/demo.stamp $(GOLDEN:%=build/golden/%/installed.stamp) ## Make tests/golden anew with pinned frameworks; fails where it differs
	@for made in $(GOLDEN); do \
	python=build/golden/$$made/bin/python traces=build/golden/$$made/traces; rm -rf $$traces; \
	case $$made in brevitas-*|ai-*|tflite-*|tensorflow-*|keras-*|nir-*) script=others.py;; *) script=modules.py;; esac; \
	$$python -W ignore tests/golden/$$script $${made%-*} $$traces || exit; \
	case $$made in snntorch-*) $$python tests/golden/make.py $$traces || exit;; esac; done
	$(RUN)/python tests/golden/compare.py $(GOLDEN:%=build/golden/%/traces)

build/golden/%/installed.stamp:
	$(PYTHON) -m venv build/golden/$*
	build/golden/$*/bin/pip install --quiet numpy $(if $(filter nir-% ai-% tflite-% tensorflow-%,$*),,torch==2.13.0) $(shell echo $* | sed 's/-\([0-9][^-]*\)$$/==\1/') \
		$(if $(filter ai-% tflite-%,$*),tflite==2.18.0) $(if $(filter keras-% nir-%,$*),h5py)
	@touch $@

.PHONY: count
count: $(VENV)/demo.stamp ## Count the kernels' instructions on every core, exactly, and compare with the baseline
	@.ci/need $(PYTHON) gcc gcc-arm-none-eabi qemu-system-arm gcc-riscv64-unknown-elf qemu-system-misc
	$(RUN)/python -m firmware.count.count $(if $(MODEL),--model $(MODEL))

.PHONY: size
size: $(VENV)/demo.stamp ## Measure flash, RAM and stack of core, firmware and models, and compare with the baseline
	@.ci/need $(PYTHON) gcc-arm-none-eabi gcc-riscv64-unknown-elf
	$(RUN)/python -m firmware.size.size

.PHONY: bench
bench: $(VENV)/demo.stamp build/bench/installed.stamp ## Time the core on this computer beside snnTorch in one run, then bench-link
	build/bench/bin/python bench/bench.py
	@$(MAKE) --no-print-directory bench-link

build/bench/installed.stamp: $(SOURCES)
	$(PYTHON) -m venv build/bench
	build/bench/bin/pip install --quiet numpy torch==2.13.0 snntorch==0.9.1 --editable .
	build/bench/bin/pip install --quiet --no-deps aeon
	@touch $@
