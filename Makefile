# `make help` lists the targets. Environments are made when needed: .venv for the demo, .venv-dist
# for the wheel, .venv-docs for the docs, .venv-front-ends for those, .venv-test for everything else.
.PHONY: help demo test lint types unit integration servers conformance peer chaos-sample notebooks \
	browser front-ends faults capacity bench-sample bench-by-processor bench-by-clock bench chaos coverage \
	test-versions dist docs clean
.SILENT:
.DELETE_ON_ERROR:
# Tests start hundreds of processes, and pytest rewrites each module of the tests in each of its
# own: compiled once, read by all.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv-test/bin
PYTEST := $(BIN)/python -m pytest -q
# These mostly wait; each process has a node of its own (`Scheduling` in tests/conftest.py).
BESIDE := -n 6 --dist loadscope --no-loadscope-reorder
# Hundreds of tests share two cores: what failed among them is named, and is run once more by
# itself. What fails twice fails.
TWICE = -o cache_dir=.pytest_cache/$@ $(1) || { test $$? = 1 && echo "Once more, by themselves:" && \
	$(PYTEST) -o cache_dir=.pytest_cache/$@ --last-failed --last-failed-no-failures none -x $(1); }
QUIET := {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}
CHAOS := $(addprefix tests/rabbitmq/,chaos.py chaos_runner.py chaos_replay.py)
# Beside their folder pytest 9 drops the names of files that it would not find there itself.
AND_CHAOS := -o "python_files=test_*.py chaos*.py"

help: ## Show this
	sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: .venv/notebooks.ready ## Open JupyterLab on copies of the notebooks, over the demo cluster (or BROKER_DSN)
	mkdir -p .venv/share/jupyter/lab/settings
	echo '$(QUIET)' > .venv/share/jupyter/lab/settings/overrides.json # no news pop-up
	.venv/bin/tasktools lab --folder .venv/notebooks -- --LabApp.extension_manager=readonly

test: .venv-test/ready ## Everything, on a private RabbitMQ and a real browser
	scripts/system-deps
	$(MAKE) lint
	$(MAKE) -j 3 types unit integration bench-by-processor # which mostly wait
	$(MAKE) bench-by-clock # with both cores for itself

lint: .venv-test/ready ## Style, layers, and notebooks without outputs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	! $(BIN)/vulture | grep -E "unused (class|function|import|method|property)"
	$(BIN)/nbstripout --verify notebooks/*.ipynb

types: .venv-test/ready ## mypy --strict
	$(BIN)/mypy

unit: .venv-test/ready .venv-test/arrow/ready ## Without any server
	$(PYTEST) -n 2 $(call TWICE,tests/unit tasktools --doctest-modules)

integration: .venv-test/ready # browser, notebooks and servers in one go; what takes longest starts first
	$(PYTEST) $(BESIDE) $(call TWICE,$(AND_CHAOS) tests/browser tests/notebooks tests/faults tests/peer tests/conformance tests/rabbitmq)

servers: .venv-test/ready # conformance, peer, faults and chaos-sample in one go
	$(PYTEST) $(BESIDE) $(call TWICE,$(AND_CHAOS) tests/faults tests/peer tests/conformance tests/rabbitmq)

conformance: .venv-test/ready ## Both backends, on a private node
	$(PYTEST) $(BESIDE) tests/conformance tests/rabbitmq

coverage: .venv-test/ready .venv-test/arrow/ready ## Those two again, with what they cover
	$(PYTEST) tests/unit tests/conformance tests/rabbitmq --cov --cov-report=term:skip-covered

peer: .venv-test/ready ## Against real workers: fastpluggy-tasks-worker, Celery, Dramatiq
	$(PYTEST) $(BESIDE) tests/peer

notebooks: .venv-test/ready ## Every notebook, by nbval, on the demo and on a private node
	$(PYTEST) -n 3 tests/notebooks

browser: .venv-test/ready ## The stories of the notebooks in JupyterLab, in Chromium
	$(PYTEST) tests/browser

front-ends: .venv-front-ends/ready ## Each notebook in JupyterLab, Notebook 7 and Voilà; pictures in .front-ends (an hour)
	.venv-front-ends/bin/python -m tests.browser.front_ends .front-ends

chaos-sample: .venv-test/ready
	$(PYTEST) $(CHAOS)

chaos: .venv-test/ready ## Lines cut, runners and replays killed, the broker restarted, many times
	TASKTOOLS_CHAOS_ROUNDS=40 TASKTOOLS_CHAOS_KILLS=50 $(PYTEST) --timeout 1800 $(CHAOS)

faults: .venv-test/ready ## Inject every fault on 3.10 and 4.3, judge it; writes benchmarks/FAULTS.md (4 h, root)
	$(BIN)/python -m tests.faults
	$(BIN)/python -m tests.faults --root $$(scripts/rabbitmq-root 4.3)

capacity: .venv-test/ready ## Accuracy of capacity planning, many seeds; writes benchmarks/CAPACITY.md (an hour)
	$(BIN)/python -m tests.capacity

bench-sample: .venv-test/ready
	$(BIN)/python -m benchmarks --small

bench-by-processor bench-by-clock: bench-by-%: .venv-test/ready
	$(BIN)/python -m benchmarks --small --by-$* || { echo "Once more:" && $(BIN)/python -m benchmarks --small --by-$*; }

bench: .venv-test/ready ## The benchmarks in full; writes benchmarks/RESULTS.md and EXPLAIN.md
	TASKTOOLS_MANY=100000 TASKTOOLS_HEALTHY=5000 $(PYTEST) --timeout 1200 \
	  tests/rabbitmq/test_replay.py tests/rabbitmq/test_ramp.py -k "of_many or all_is_well"
	$(BIN)/python -m benchmarks.explain
	$(BIN)/python -m benchmarks

test-versions: .venv-test/ready ## The tests with a server, on RabbitMQ 4.0 and 4.3 (needs root)
	for version in 4.0 4.3; do \
	  root=$$(scripts/rabbitmq-root $$version) && echo "RabbitMQ $$version" && \
	  TASKTOOLS_RABBITMQ_ROOT=$$root $(MAKE) servers || exit 1; \
	done

dist: .venv-dist/ready ## Build and check the wheel; its tests outside the tree (PYTHONS="python3.12 …", LOWEST=1)
	LOWEST=$(LOWEST) scripts/dist $(PYTHONS)

docs: .venv-docs/ready ## Build the docs into docs/_build/html, and run what is in them (3 min)
	.venv-docs/bin/python -c 'from tasktools.core.frames.frames_page import as_markdown; print(as_markdown(), end="")' > docs/frames.md
	rm -rf docs/reference/api/generated
	.venv-docs/bin/sphinx-build --quiet --fresh-env --fail-on-warning --jobs 4 docs docs/_build/html

clean: ## Remove the environments and what tools left
	rm -rf .venv .venv-test .venv-dist .venv-docs .venv-front-ends .front-ends dist docs/_build docs/reference/api/generated .peer .celery .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage*

.venv/ready: pyproject.toml
	scripts/venv .venv notebooks

# What is run in a copy is in no commit; it lasts until the notebooks of the clone are others.
.venv/notebooks.ready: .venv/ready $(wildcard notebooks/*.ipynb)
	.venv/bin/tasktools notebooks .venv/notebooks --overwrite > /dev/null
	touch $@

.venv-test/ready: pyproject.toml
	scripts/venv .venv-test dev

.venv-dist/ready: pyproject.toml
	scripts/venv .venv-dist dist

.venv-docs/ready: pyproject.toml
	scripts/venv .venv-docs docs

.venv-front-ends/ready: pyproject.toml
	scripts/venv .venv-front-ends front-ends

# Beside the others: where pyarrow is installed, pandas keeps texts in another way, and few have it.
.venv-test/arrow/ready: .venv-test/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade --target $(@D) 'polars>=1.30' 'pyarrow>=18'
	touch $@
