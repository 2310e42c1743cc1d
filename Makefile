# `make demo` to see growdisk work, `make test` to judge it; both begin with `make setup`.

PYTHON := .venv/bin/python

.PHONY: setup setup-test demo test check bench

setup:
	@setup/packages.sh run
	@setup/venv.sh

setup-test:
	@setup/packages.sh run test
	@setup/venv.sh

demo: setup
	@setup/demo.sh

# Two processes: one boots guests, one processor each, the other does all the rest, and then they share what is left.
test: setup-test
	$(PYTHON) -m pytest -n 2 --dist loadgroup

# Under a minute: no guest is booted, no appliance started.
check: setup-test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	shellcheck setup/*.sh .ci/run
	$(PYTHON) -m pytest -n 2 -m "not appliance and not boot" tests/test_architecture.py tests/unit

bench: setup-test
	$(PYTHON) -m benchmarks
