# The two commands to know are `make demo` and `make test`. Everything is done by xtask (`cargo xtask --help`).
CARGO  ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
FILTER ?=

all: build
build:
	$(CARGO) build --locked --release --package vserver

# A real Debian guest: built, started, looked at, stopped. Touches nothing outside target/.
demo:
	$(CARGO) xtask demo

# Every test there is. As root; without it the tests that need root are ignored, and said so.
test:
	$(CARGO) xtask test

# The style gate.
check:
	$(CARGO) xtask check

# End-to-end tests only: make e2e FILTER=s15
e2e:
	$(CARGO) xtask e2e $(FILTER)

install: build
	install -D -m 0755 target/release/vserver $(DESTDIR)$(PREFIX)/sbin/vserver
	set -e; for name in $$(target/release/vserver --applets); do \
		ln -sf vserver $(DESTDIR)$(PREFIX)/sbin/$$name; done

.PHONY: all build demo test check e2e install
