# Threads that spin while they wait starve every other actor of a small machine.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE

python := .venv/bin/python

.PHONY: run setup languages prometheus test test-long lint bench bench-executor bench-learning bench-pocket bench-overlap bench-scaling \
        bench-weights pocket clean

run: setup
	$(python) driver.py run configs/pocket.yaml

setup:
	@scripts/setup.sh

languages:
	@scripts/languages.sh

prometheus:
	@scripts/prometheus.sh

test: lint languages
	$(python) -m pytest -m "not long" -n 2 --dist loadfile --no-loadscope-reorder

test-long: setup prometheus
	@scripts/cluster_tools.sh
	$(python) -m pytest -m long

lint: setup
	$(python) -m ruff check .
	$(python) -m mypy

bench: bench-executor bench-learning bench-pocket bench-overlap bench-scaling bench-weights

bench-executor: setup
	$(python) -m benchmarks.executor

bench-learning: setup
	$(python) -m benchmarks.learning

bench-pocket: setup
	$(python) -m benchmarks.pocket

bench-overlap: setup
	$(python) -m benchmarks.overlap

bench-scaling: setup
	$(python) -m benchmarks.scaling
	$(python) -m benchmarks.balance

bench-weights: setup
	$(python) -m benchmarks.weights

pocket: setup
	$(python) -m roles.problems.pocket suite
	$(python) -m roles.problems.pocket base

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache
