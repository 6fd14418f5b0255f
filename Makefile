# make demo | test | check | bench | record | clean; `make setup` installs all that they need and is fast when nothing is to do.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYTHONPATH := $(CURDIR):$(CURDIR)/actions/lib:$(CURDIR)/auth_backend/src
unexport PYTHONDONTWRITEBYTECODE # or each process that a test starts compiles the library anew

.PHONY: test-rabbitmq4 setup check test test-mysql9 demo bench record clean
setup: $(VENV)/.apt $(VENV)/.installed .venv-st2/.installed .pymongo-newest/.installed
	@$(BIN)/python -m lab install mongodb

$(VENV)/.apt: Makefile
	@missing=""; command -v nft >/dev/null || missing="nftables"; \
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || missing="$$missing python3-venv"; \
	test -x /usr/lib/rabbitmq/bin/rabbitmq-server || missing="$$missing rabbitmq-server"; \
	test -x /usr/sbin/mariadbd || missing="$$missing mariadb-server"; \
	test -x /usr/bin/redis-sentinel || missing="$$missing redis-server redis-sentinel"; \
	test -x /usr/sbin/samba || missing="$$missing samba samba-ad-dc samba-ad-provision winbind krb5-user python3-samba"; \
	command -v ip >/dev/null || missing="$$missing iproute2"; \
	test -x /usr/sbin/sshd || missing="$$missing openssh-server openssh-client"; \
	ldconfig -p | grep -q libfuse.so.2 || missing="$$missing libfuse2"; \
	command -v rsync >/dev/null || missing="$$missing rsync"; \
	command -v sudo >/dev/null || missing="$$missing sudo"; \
	test -x /usr/sbin/slapd || missing="$$missing slapd ldap-utils"; \
	command -v nginx >/dev/null || missing="$$missing nginx-light"; \
	command -v keepalived >/dev/null || missing="$$missing keepalived"; \
	command -v haproxy >/dev/null || missing="$$missing haproxy"; \
	command -v socat >/dev/null || missing="$$missing socat"; \
	test -x /usr/sbin/ns-slapd || missing="$$missing 389-ds-base libnss3-tools"; \
	if [ -n "$$missing" ]; then \
	  test -e /usr/sbin/policy-rc.d || { printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d; }; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi
	@mkdir -p $(VENV) && touch $@

# The pack's own virtualenv; orquesta 1.2.0 comes without its dependencies, whose pins no longer install.
$(VENV)/.installed: requirements.txt requirements-dev.txt requirements-orquesta.txt | $(VENV)/.apt
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements-orquesta.txt
	@touch $@

# What a sensor finds in StackStorm's sensor process: its pymongo and its eventlet, not the pack's.
.venv-st2/.installed: requirements-st2.txt | $(VENV)/.apt
	@$(PYTHON) -m venv .venv-st2
	@.venv-st2/bin/pip install --quiet --disable-pip-version-check -r requirements-st2.txt
	@touch $@

# The newest pymongo, which Python 3.13 takes: a directory to put before the pack's own libraries.
.pymongo-newest/.installed: Makefile | $(VENV)/.installed
	@$(BIN)/pip install --quiet --disable-pip-version-check --upgrade --no-deps --target .pymongo-newest 'pymongo>=4.9,<5'
	@touch $@

check: setup
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/python -m metadata
	@ST2HA_TEST_QUICK=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder tests/unit

# Three workers on two cores: the real tests wait more than they compute. One pytest, so that its summary tells all.
test: setup
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/python -m metadata
	@$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

# The MySQL tests once more, on MySQL 9 (unpacked once: a minute, 650 MB).
test-mysql9: setup
	@command -v debootstrap >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq debootstrap >/dev/null
	@$(BIN)/python -m lab install mysql9
	@$(BIN)/pytest -m mysql9 tests/integration/test_mysql_operations.py tests/integration/test_mysql_cli.py tests/faults/test_mysql_killed.py

# The same on RabbitMQ 4 of Debian trixie (needs root, debootstrap; 300 MB).
test-rabbitmq4: setup
	@$(BIN)/python -m lab install rabbitmq4
	@ST2HA_TEST_RABBITMQ4=1 $(BIN)/pytest tests/integration/test_rabbitmq4.py

demo: setup
	@$(BIN)/python -m demo

# Sign-in is measured beside python-ldap, which has to be compiled.
bench: setup
	@$(BIN)/python -c 'import ldap' 2>/dev/null || { \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq libldap2-dev libsasl2-dev gcc python3-dev >/dev/null; \
	  $(BIN)/pip install --quiet --disable-pip-version-check 'python-ldap>=3.4'; }
	@$(BIN)/python -m benchmarks

# Record the facts of tests/facts anew from real servers.
record: setup
	@$(BIN)/python -m tests.record
	@$(BIN)/python -m tests.record_mysql
	@$(BIN)/python -m tests.record_rabbitmq
	@$(BIN)/python -m tests.record_redis
	@$(BIN)/python -m tests.record_edge

clean:
	rm -rf $(VENV) .venv-st2 .pymongo-newest .lab .mypy_cache .ruff_cache .pytest_cache
