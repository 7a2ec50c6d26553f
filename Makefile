# banger is built by cargo; this only saves typing. `make help` lists the targets.
PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo
BANGER ?= banger
# Not of the environment, which may have them for something else.
IMAGE =
OPTIONS =

BIN = $(DESTDIR)$(PREFIX)/bin
RULES = $(DESTDIR)$(PREFIX)/lib/udev/rules.d
PROGRAMS = target/release/banger target/release/bangerd target/release/banger-helper \
	target/agent/banger-agent

NAMED = $(if $(IMAGE),--name $(IMAGE))

help:
	@echo 'make build      build the programs, optimised'
	@echo 'make install    install what was built to PREFIX/bin, and a rule for udev to PREFIX/lib'
	@echo '                (PREFIX=$(PREFIX), DESTDIR=$(DESTDIR))'
	@echo 'make uninstall  remove it from there'
	@echo 'make demo       see a VM made, started and entered'
	@echo 'make test       everything CI runs'
	@echo 'make alpine     make an image of Alpine, as `banger image build alpine` does;'
	@echo '                step by step: make alpine-kernel alpine-rootfs alpine-register'
	@echo '                (IMAGE=its-name, OPTIONS="--package git ...")'
	@echo 'make void       the same for Void Linux, with the same steps'

build:
	$(CARGO) build --release --locked --workspace
	$(CARGO) xtask agent

# Does not build, so that `sudo make install` runs no compiler as root.
install:
	@for program in $(PROGRAMS); do \
		test -x $$program || { echo "$$program is not there: run make build first"; exit 1; }; \
	done
	install -d '$(BIN)'
	install -m 755 $(PROGRAMS) '$(BIN)'
	install -d '$(RULES)'
	install -m 644 udev/12-banger.rules '$(RULES)'

uninstall:
	rm -f '$(RULES)/12-banger.rules' $(foreach program,$(notdir $(PROGRAMS)),'$(BIN)/$(program)')

demo:
	script/demo

test:
	script/test

alpine void:
	$(BANGER) image build $@ $(NAMED) $(OPTIONS)

alpine-kernel alpine-rootfs void-kernel void-rootfs:
	$(BANGER) image build $(subst -, --step ,$@) $(NAMED) $(OPTIONS)

# What the image is made of was told to the steps before it.
alpine-register void-register:
	$(BANGER) image build $(subst -, --step ,$@) $(NAMED)

# Steps come one after the other.
.NOTPARALLEL:

.PHONY: help build install uninstall demo test alpine alpine-kernel alpine-rootfs alpine-register \
	void void-kernel void-rootfs void-register
