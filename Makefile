# The two commands to know are `make demo` and `make test`. Everything is done by xtask (`cargo xtask --help`).
CARGO  ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
FILTER ?=

all: build
build:
	$(CARGO) xtask build

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

# The end-to-end and kernel tests on stock Debian kernels in virtual machines: make vm-test FILTER=s15
vm-test:
	$(CARGO) xtask vm $(FILTER)

# Benchmarks beside other tools and the bare kernel, as root: make bench FILTER=exec, or FILTER="exec cgroup2 --rounds 10"
bench:
	$(CARGO) xtask bench $(FILTER)

# The program, its other names, manual pages, completion, and the data it reads.
install: build install-files

# The same from a program that is there: BIN=target/debug/vserver.
BIN     ?= target/release/vserver
install-files:
	install -D -m 0755 $(BIN) $(DESTDIR)$(PREFIX)/sbin/vserver
	rm -rf target/man && mkdir -p target/man && $(BIN) --generate-man target/man
	install -d $(DESTDIR)$(PREFIX)/share/man/man8
	install -m 0644 target/man/*.8 $(DESTDIR)$(PREFIX)/share/man/man8
	set -e; for page in target/man/*.8; do name=$$(basename $$page .8); \
		[ $$name = vserver ] || ln -sf vserver $(DESTDIR)$(PREFIX)/sbin/$$name; done
	ln -sf vserver $(DESTDIR)$(PREFIX)/sbin/stop-vservers
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions \
		$(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	$(BIN) --completion bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/vserver
	$(BIN) --completion zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_vserver
	$(BIN) --completion fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/vserver.fish
	set -e; for page in target/man/*.8; do name=$$(basename $$page .8); [ $$name = vserver ] || { \
		ln -sf vserver $(DESTDIR)$(PREFIX)/share/bash-completion/completions/$$name; \
		ln -sf vserver.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/$$name.fish; }; done
	install -d $(DESTDIR)$(PREFIX)/share/vserver
	cp -R share/. $(DESTDIR)$(PREFIX)/share/vserver/

# What starts guests at boot: units and the generator for systemd, init scripts for other inits (both are always put in
# place, and each host reads its own), the settings.
ETC     ?= $(DESTDIR)/etc
SYSTEMD ?= $(DESTDIR)/usr/lib/systemd
install-services:
	set -e; for unit in packaging/systemd/*; do \
		install -d $(SYSTEMD)/system; \
		sed 's,@SBIN@,$(PREFIX)/sbin,' $$unit > $(SYSTEMD)/system/$$(basename $$unit); \
		chmod 644 $(SYSTEMD)/system/$$(basename $$unit); done
	install -d $(SYSTEMD)/system-generators
	ln -sf $(PREFIX)/sbin/vserver $(SYSTEMD)/system-generators/systemd-vserver-generator
	install -D -m 0644 packaging/tmpfiles.d/vserver.conf $(DESTDIR)/usr/lib/tmpfiles.d/vserver.conf
	set -e; for script in packaging/init.d/*; do \
		install -d $(ETC)/init.d; \
		sed 's,@SBIN@,$(PREFIX)/sbin,' $$script > $(ETC)/init.d/$$(basename $$script); \
		chmod 755 $(ETC)/init.d/$$(basename $$script); done
	[ -e $(ETC)/default/vservers ] || install -D -m 0644 packaging/default/vservers $(ETC)/default/vservers

# One package for all: the program is one file, and its other names, units and pages are small beside it.
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
OUT     ?= target
deb: build deb-files

DEB      = $(OUT)/deb
deb-files:
	rm -rf $(DEB)
	$(MAKE) --no-print-directory install-files install-services DESTDIR=$(abspath $(DEB)) PREFIX=/usr BIN=$(BIN)
	mkdir -p $(DEB)/DEBIAN
	sed -e 's/@VERSION@/$(VERSION)/' -e "s/@ARCH@/$$(dpkg --print-architecture)/" \
		-e "s/@SIZE@/$$(du -sk $(DEB) | cut -f1)/" packaging/deb/control > $(DEB)/DEBIAN/control
	install -m 0644 packaging/deb/conffiles $(DEB)/DEBIAN/conffiles
	install -m 0755 packaging/deb/postinst packaging/deb/postrm $(DEB)/DEBIAN
	dpkg-deb --root-owner-group -Zxz -z1 --build $(DEB) $(OUT)/vserver_$(VERSION).deb

rpm: build rpm-files

rpm-files:
	rm -rf $(OUT)/rpm
	mkdir -p $(OUT)/rpm
	rpmbuild -bb --define "_topdir $(abspath $(OUT))/rpm" --define "_version $(VERSION)" \
		--define "_source $(CURDIR)" --define "_bin $(abspath $(BIN))" packaging/rpm/vserver.spec
	cp $(OUT)/rpm/RPMS/*/vserver-*.rpm $(OUT)/

.PHONY: all build demo test check e2e vm-test bench install install-files install-services deb deb-files rpm rpm-files
