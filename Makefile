# Every target makes its own environment first; a second run is instant.
FITS := import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11; do $$each -c '$(FITS)' 2>/dev/null && echo $$each && break; done)
VENV ?= .venv
JOBS ?= auto
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check bench bench-embedding bench-gateway bench-image bench-onboarding up clean
demo: $(READY) ; @$(BIN)/0711 demo $(DEMO)
test: $(READY) ; @$(BIN)/python -m pytest -n $(JOBS) $(TEST)
check: $(READY) ; @$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright && $(BIN)/lint-imports && $(BIN)/python -m pytest -q tests/arch
bench: $(READY) ; @for file in $(filter-out %_peer.py %_peers.py %/corpus.py %/processing.py,$(wildcard benchmarks/*.py)); do echo "== $$file"; $(BIN)/python $$file || exit 1; done
bench-embedding: export PEER_PYTHON := $(PEER_PYTHON)
bench-embedding: $(READY) ; @for file in embedding embedding_load embedding_encoder; do echo "== $$file"; $(BIN)/python benchmarks/$$file.py || exit 1; done
bench-onboarding: $(READY) ; @$(BIN)/python benchmarks/onboarding.py $(ONBOARDING)
bench-gateway: $(READY) ; @$(BIN)/python benchmarks/gateway.py $(BENCH)
bench-image: $(READY) ; @$(BIN)/python benchmarks/image.py $(BENCH)
up: $(READY) ; @$(BIN)/0711 up $(UP)
clean: ; rm -rf $(VENV) .0711

# Where the folder was moved, or a new release of the system replaced Python, the environment does not start: it is made anew.
ifneq ($(wildcard $(READY)),)
ifneq ($(shell $(BIN)/pip --version >/dev/null 2>&1 || echo broken),)
.PHONY: $(READY)
ANEW := --clear
endif
endif

# torch is installed first and pinned exactly: so a CPU build of it is taken where pip is shown one (README), which a looser request
# passes over for a newer version with gigabytes of CUDA. PyPI itself has none for amd64.
# pip compiles 25,000 files to byte code with one processor, which takes a minute: here all processors do.
$(READY): pyproject.toml
	@$(or $(PYTHON),false) -c '$(FITS)' 2>/dev/null || { echo "Python 3.11 to 3.14 with venv is needed (Debian, Ubuntu: apt install python3-venv), and $(or $(PYTHON),python3) is none. Where there is one, name it: make PYTHON=…/python3.13" >&2; exit 1; }
	@echo "Setting up $(VENV) (two to four minutes, once) …"
	@$(PYTHON) -m venv $(ANEW) $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@echo "  1/2 torch" && $(BIN)/python -m pip install --quiet --no-compile torch==2.13.0
	@echo "  2/2 the platform and its libraries" && $(BIN)/python -m pip install --quiet --no-compile --editable '.[dev]'
	@$(BIN)/python -m compileall -q -j 0 servers shared $(VENV)/lib >/dev/null 2>&1 || true  # some are templates, or for another Python
	@touch $(READY)
