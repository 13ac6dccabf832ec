# Every target builds its own virtual environment first; nothing has to be activated.
PYTHON ?= python3
PROFILE ?= tiny
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
INSTALLING := $(VENV)/.installing
BROWSER := $(VENV)/.browser
TORTURE := $(VENV)/.torture
COLAB := .venv-colab
STANDALONE := .venv-standalone
LOWEST := .venv-lowest
TOOLS := .venv-tools
# Tests of the library that need the extra `all`, and nothing newer.
CORE := $(addprefix tests/test_,$(addsuffix .py,solvers schedule denoisers rootfind inversion \
  certificate exact docstrings))
# Of pipelines (SD 3 and Flux, too), the embedded model and the command line; the same is true of them.
DOORS := $(addprefix tests/test_,$(addsuffix .py,pipelines portraits cli notebook_tools))
NOTEBOOKS = $(wildcard book/*.ipynb book/appendix/*.ipynb)
alone = OMP_NUM_THREADS=1 INVLIB_ALONE=$(abspath $(1))/bin/python \
  $(BIN)/pytest -n 2 -v --durations=0 tests/colab

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help environment figures test lint unit thorough lowest notebooks rehearsal book slides offline pdf
.PHONY: browser screens coverage mutants
.PHONY: chromium colab standalone smoke wheel bench results train torture clean distclean
.PHONY: lock licences audit sbom dist
.DEFAULT_GOAL := help
.NOTPARALLEL:

help: ## show this list
	@grep -E '^[a-z]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 12

# The stamp is written last. A run that was killed half-way leaves .installing behind, and the
# next one starts from an empty environment.
$(STAMP): pyproject.toml setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "invlib needs Python 3.11 or newer; try: make PYTHON=python3.12"; exit 1; }
	@if [ -e $(INSTALLING) ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  echo "$(PYTHON) -m venv --clear $(VENV)"; $(PYTHON) -m venv --clear $(VENV); fi
	@touch $(INSTALLING)
	$(BIN)/python -m pip install -c constraints.txt -e ".[book,test,train]" || \
	  { rm -f $(INSTALLING); exit 1; }
	@rm -f $(INSTALLING) && touch $@

environment: $(STAMP) ## install all that the other targets need in .venv

figures: $(STAMP) ## regenerate the figures of the paper (PROFILE=tiny, or one of full size)
	$(BIN)/python -m invlib.reproduce --profile $(PROFILE)

test: lint unit notebooks ## lint, types, unit tests, and the book's stored outputs

lint: $(STAMP) ## style and types only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(STAMP) ## the unit tests only, but for those that tests/slow.txt leaves to `make thorough`
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m "not slow"

thorough: $(STAMP) ## all unit tests, the slow ones too, and the rehearsal; before a release
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal --junitxml=$(VENV)/thorough.xml
	$(MAKE) rehearsal

$(LOWEST)/.installed: pyproject.toml .ci/lowest
	$(PYTHON) -m venv --clear $(LOWEST)
	$(PYTHON) .ci/lowest > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install -c $(LOWEST)/constraints.txt -e ".[all]" \
	  pytest hypothesis scipy nbformat
	@touch $@

lowest: $(LOWEST)/.installed ## test the library with the lowest versions that pyproject.toml allows
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest $(CORE) $(DOORS)

# Kernels are forks of one process that has imported PyTorch, where processes fork well.
KERNEL := $(if $(filter Linux,$(shell uname)),-p invlib.reproduce.book.warm --nbval-kernel-name warm,--nbval-current-env)

notebooks: $(STAMP) ## run the chapters and compare every output with the stored one
ifneq ($(NOTEBOOKS),)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -p invlib.reproduce.book.compared \
	  --nbval $(KERNEL) $(NOTEBOOKS)
else
	@echo "no chapters in book/ yet"
endif

# Outputs come from the cache, which `make notebooks` and the second line fill; all else is made
# anew, and must be new.
book: $(STAMP) ## build the book in _build/html with warnings as errors
	$(BIN)/python -m invlib.reproduce.book.web
	$(BIN)/python -m invlib.reproduce.book
	$(BIN)/jupyter-book clean .
	@touch $(VENV)/.book-started
	$(BIN)/jupyter-book build . -W -n --keep-going
	@for page in index book/intro; do \
	  [ -s _build/html/$$page.html ] && [ _build/html/$$page.html -nt $(VENV)/.book-started ] || \
	    { echo "no new _build/html/$$page.html: the book was not built"; exit 1; }; done

slides: $(STAMP) ## build the slides of three lectures in _build/slides
	$(BIN)/python -m invlib.reproduce.book.slides

offline: book ## the book as a zip file that opens from a disk
	$(BIN)/python -m invlib.reproduce.book.offline

rehearsal: $(STAMP) ## rehearse the full-size profiles to their end, on random weights from loopback
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile tests/rehearsal

pdf: book $(BROWSER) ## the pages as PDF files, printed by Chromium
	$(BIN)/python -m invlib.reproduce.book.pdf

$(BROWSER): $(STAMP)
	$(BIN)/python -m pip install -c constraints.txt -e ".[browser]"
	@touch $@

browser: $(BROWSER) ## look at every page of the built book, from a server and from a disk
	$(BIN)/python -m pytest -q -n 2 --dist worksteal tests/browser

screens: export INVLIB_SCREENS := 1
screens: browser ## the same, and keep pictures of all pages in _build/screens

chromium: $(BROWSER) ## install the Chromium that `make browser` looks with; needs root
	$(BIN)/python -m playwright install --with-deps chromium

$(COLAB)/.installed: tests/colab/requirements.txt
	$(PYTHON) -m venv --clear $(COLAB)
	$(COLAB)/bin/python -m pip install -r $<
	@touch $@

wheel: $(STAMP)
	rm -rf build dist/alone
	$(BIN)/python -m pip wheel --no-deps -w dist/alone .

smoke: wheel ## install the wheel where nothing else is, and run its demonstration
	PYTHON=$(PYTHON) .ci/smoke dist/alone/invlib-*.whl

colab: wheel $(COLAB)/.installed ## run every chapter alone, with the versions of Colab
	$(COLAB)/bin/python -m pip uninstall -q -y invlib
	$(BIN)/python tests/colab/install.py $(COLAB)/bin/python dist/alone/invlib-*.whl
	$(call alone,$(COLAB))

# Beyond the extra `all`: a kernel, and what two pages install themselves.
standalone: wheel ## run every chapter alone, with the versions of the book
	$(PYTHON) -m venv --clear $(STANDALONE)
	$(STANDALONE)/bin/python -m pip install -c constraints.txt "$$(echo dist/alone/invlib-*.whl)[all]" \
	  ipykernel onnx onnxruntime papermill torchmetrics tabulate scipy textalloc
	$(call alone,$(STANDALONE))

bench: $(STAMP) ## compare the inversion methods on the embedded model
	$(BIN)/python -m invlib.reproduce.bench

results: figures bench ## fill all of results/ again; what is stored is not computed twice
	$(BIN)/python -m invlib.reproduce.tables
	$(BIN)/python -m invlib.reproduce.front
	$(BIN)/python -m invlib.reproduce.book.pages

torture: $(TORTURE) ## try to make it lie or lose; counts in results/torture.json
	OMP_NUM_THREADS=1 $(BIN)/python tests/torture/run.py; code=$$?; \
	  $(BIN)/python -m invlib.reproduce.book.pages; exit $$code

# Tools of whoever maintains this; no other target needs them.
$(TOOLS)/.installed: .ci/tools.lock
	$(PYTHON) -m venv --clear $(TOOLS)
	$(TOOLS)/bin/python -m pip install --require-hashes -r $<
	@touch $@

lock: $(TOOLS)/.installed ## pin every dependency by the hashes of its files, as constraints.txt says
	.ci/lock $(TOOLS)/bin/uv

licences: $(TOOLS)/.installed $(STAMP) ## ask again for the licence of every dependency, and list them
	$(TOOLS)/bin/python .ci/licences
	$(BIN)/python -m invlib.reproduce.book.pages

audit: $(TOOLS)/.installed ## look all dependencies up in a database of known vulnerabilities
	$(TOOLS)/bin/python .ci/audit

sbom: $(TOOLS)/.installed ## list all dependencies in dist/invlib.cdx.json, as CycloneDX
	$(TOOLS)/bin/python .ci/sbom dist/invlib.cdx.json

dist: $(TOOLS)/.installed ## source distribution and wheel; the same bytes from the same commit
	$(TOOLS)/bin/python .ci/dist

$(TORTURE): $(STAMP)
	$(BIN)/python -m pip install -c constraints.txt -e ".[torture]"
	@touch $@

coverage: $(STAMP) ## which lines and branches of the core its tests reach
	$(BIN)/python tests/torture/reached.py

mutants: $(TORTURE) coverage ## which small changes of the core its tests notice; half an hour
	OMP_NUM_THREADS=1 $(BIN)/python tests/torture/mutants.py

train: $(STAMP) ## train the embedded models again
	$(BIN)/python -m invlib.portraits.train
	$(BIN)/python -m invlib.stars.train

clean: ## remove the book and every cache; the environment and training checkpoints stay
	rm -rf _build build dist
	rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find invlib tests book -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove the environments and what was fetched for the book as well
	rm -rf $(VENV) $(COLAB) $(STANDALONE) $(LOWEST) $(TOOLS) invlib.egg-info book/_static/html-manager book/_static/tippy tests/browser/axe tests/browser/html-manager-7
