# Every target does its own set-up, in a virtual environment inside the checkout.

PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,$(shell command -v $(name))))
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
# Tests mostly wait: for peers, deadlines and processes; so more of them at once than there are cores.
WORKERS ?= 4
FUZZ_SECONDS ?= 60
FUZZ_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo serve test coverage lint check sanitize fuzz package bench compare clean

help: ## What can be made
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(VENV)/.installed ## Watch three clients converse beside one that stays silent
	$(BIN)/python examples/demo.py

serve: $(VENV)/.installed ## Keep the reversing service running on port 12345, until Ctrl-C
	$(BIN)/threadwire serve

test: $(VENV)/.developing ## Run the tests
	$(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS)

coverage: $(VENV)/.developing ## Run the tests and report branch coverage
	THREADWIRE_STRESS=$${THREADWIRE_STRESS:-50000} $(BIN)/python -m pytest -n $(WORKERS) --cov --cov-report=term --cov-fail-under=95 $(PYTEST_ARGS)

lint: $(VENV)/.developing ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint coverage ## What has to be green before a change goes in

# Into a directory of its own: the module that is installed stays as it is. Leaks are not looked
# for, since the interpreter has some; with its own allocator overruns would go unseen. A report
# goes past what pytest captures, which an abort would lose.
sanitize: $(VENV)/.developing ## The C module, under the sanitizers
	@mkdir -p build/sanitize
	$(CC) -shared -fPIC -g -O1 -fno-omit-frame-pointer \
		-fsanitize=address,undefined -fno-sanitize-recover=undefined -Wall -Wextra -Werror \
		-I$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))') \
		-o build/sanitize/_speedups.so src/threadwire/transport/*.c
	LD_PRELOAD=$$($(CC) -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 \
		UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc \
		THREADWIRE_SPEEDUPS=build/sanitize/_speedups.so \
		$(BIN)/python -m pytest --capture=sys tests/transport/test_poller.py tests/transport/test_handling.py $(PYTEST_ARGS)

fuzz: $(VENV)/.fuzzing ## Fuzz each target for FUZZ_SECONDS [60], see fuzz/README.md
	$(BIN)/python -m fuzz --seconds $(FUZZ_SECONDS) $(FUZZ_ARGS)

package: $(VENV)/.developing ## Build the sdist and the wheel into dist/
	$(BIN)/python -m build --outdir dist .

bench: $(VENV)/.developing ## Measure the framings
	$(BIN)/python benchmarks/framing.py

compare: $(VENV)/.developing ## Measure the server against its rivals
	$(BIN)/python -m pip install --quiet -r benchmarks/requirements.txt
	$(BIN)/python benchmarks/compare.py

clean: ## Remove what was built and installed here
	rm -f src/threadwire/transport/_speedups.*.so
	rm -rf $(VENV) build dist benchmarks/build .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/.python:
	@$(if $(PYTHON),,echo "threadwire needs Python 3.11 or newer" >&2; exit 1)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "threadwire needs Python 3.11 or newer, not " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.python pyproject.toml setup.py $(wildcard src/threadwire/transport/*.[ch])
	$(BIN)/python -m pip install --quiet --editable .
	@# As an ordinary installation does; otherwise the first start, or where the environment
	@# says not to write bytecode every start, compiles it all.
	$(BIN)/python -m compileall -q src
	@touch $@

# Dependency groups need pip 25.1.
$(VENV)/.developing: $(VENV)/.installed pyproject.toml
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --group dev
	@touch $@

$(VENV)/.fuzzing: $(VENV)/.developing
	$(BIN)/python -m pip install --quiet --group fuzz
	@touch $@
