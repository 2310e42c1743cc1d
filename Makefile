# `make demo` to see growdisk work, `make test` to judge it; both begin with `make setup`.

PYTHON := .venv/bin/python

# Where an environment forbids it, everything would be compiled anew by each process of the tests.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup setup-test demo test test-fast test-slow check fuzz fuzz-disks fuzz-enospc fuzz-headers bench collection deb man vagrant-box vagrant-trial

setup:
	@setup/packages.sh run
	@setup/venv.sh

setup-test:
	@setup/packages.sh run test vagrant
	@setup/venv.sh

demo: setup
	@setup/demo.sh

# Four processes for two processors: many tests wait more than they work. Boots come first.
test: setup-test
	$(PYTHON) -m pytest -n 4 -m "not slow"

# The engine and the planner, alone and against QEMU, dying at every write: no appliance and no boot.
test-fast: setup-test
	$(PYTHON) -m pytest -n 4 -m "not appliance and not boot and not slow" tests/unit tests/oracle tests/golden tests/crash

# The long matrix: every family and layout booted, running guests on every bus, by every way inside, with every kind of
# swap, Ceph's clients, vagrant's; some hours.
test-slow: setup-test
	$(PYTHON) -m pytest -m slow

# Under a minute: no guest is booted, no appliance started, no whole run. Four processes: some tests wait more than they work.
check: setup-test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	shellcheck setup/*.sh vagrant/*.sh .ci/run
	$(PYTHON) -m pytest -n 4 -m "not appliance and not boot and not slow" tests/test_architecture.py tests/unit

# Looks for images that make the engine stumble; what it has learned stays in the corpus, outside the repository.
FUZZ_SECONDS ?= 60
FUZZ_CORPUS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/growdisk/fuzz
fuzz: setup-test fuzz-headers
	@setup/fuzz.sh
	@mkdir -p $(FUZZ_CORPUS)/corpus
	FUZZ_DISKS=$(FUZZ_DISKS) $(PYTHON) -m tests.fuzz.disks $(FUZZ_SECONDS)
	$(PYTHON) -m tests.fuzz.fuzz $(FUZZ_CORPUS)/corpus -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=$(FUZZ_CORPUS)/ -print_final_stats=1
	$(PYTHON) -m pytest -q -m slow -k tmpfs tests/crash/test_full_host.py

# Runs on small file systems (ext4, XFS, tmpfs; root only) that are filled to the last block before each single change.
fuzz-enospc: setup-test
	$(PYTHON) -m pytest -q -m slow tests/crash/test_full_host.py

# Random disks are planned, grown and judged by everybody else; SEED=7 does one alone. They lie in FUZZ_DISKS meanwhile.
FUZZ_DISKS ?= /var/tmp
fuzz-disks: setup-test
	FUZZ_DISKS=$(FUZZ_DISKS) $(PYTHON) -m tests.fuzz.disks $(FUZZ_SECONDS)

# Looks for headers that growdisk and qemu-img read differently.
fuzz-headers: setup-test
	$(PYTHON) -m tests.fuzz.fuzz_headers $(FUZZ_SECONDS)

# Measures (most of an hour, best on a machine that does nothing else), keeps the raw numbers, writes docs/benchmarks.md.
bench: setup-test
	@setup/packages.sh bench
	$(PYTHON) -m benchmarks

# Ansible's own modules, growdisk.disk.*, built and installed without network. Another folder than this one, where
# ansible-playbook looks by itself, must stand in ANSIBLE_COLLECTIONS_PATH.
COLLECTIONS ?= $(HOME)/.ansible/collections
collection:
	@setup/collection.sh $(COLLECTIONS)

# A Debian package for the Debian that this runs on, in dist/.
deb: setup-test
	@setup/deb.sh

# Man pages of growdisk and of each of its commands.
man: setup-test
	@$(PYTHON) setup/man.py build/man

# The box is built once per recipe, outside the repository; the last line says where it is.
vagrant-box: setup-test
	@$(PYTHON) -m vagrant.box

vagrant-trial: setup-test
	$(PYTHON) -m vagrant.trial
