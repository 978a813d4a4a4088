# Every target makes its own environment first; a second run is instant.
PYTHON ?= python3
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

# torch is installed first and pinned exactly: this version is found as a CPU build, a looser request brings gigabytes of CUDA.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Name one: make PYTHON=python3.12") if sys.version_info < (3, 11) else 0'
	@echo "Setting up $(VENV) (two to four minutes, once) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@echo "  1/2 torch" && $(BIN)/python -m pip install --quiet torch==2.13.0
	@echo "  2/2 the platform and its libraries" && $(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(READY)
