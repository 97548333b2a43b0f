# Every target is a line or two that also works by hand.

# A release is a commit with a tag vX.Y.Z. A folder without .git knows no commit; the date of the file VERSION is its date.
VERSION := $(shell git describe --tags --exact-match --match 'v[0-9]*' 2>/dev/null | sed 's/^v//' | grep . || cat VERSION)
COMMIT  := $(shell test -e .git && git describe --always --dirty --abbrev=12 --exclude '*' 2>/dev/null)
ARCHITECTURES ?= amd64 arm64
PACKAGES      ?= bin/packages
# Who hands packages on to others puts an address of his own here.
MAINTAINER ?= baton maintainers <baton@example.org>
ENGINE     ?= $(shell command -v podman || command -v docker)
IMAGE      ?= baton:$(subst +,-,$(VERSION))
BASE       ?= scratch
SOURCE_DATE_EPOCH ?= $(shell test -e .git && git log -1 --format=%ct 2>/dev/null || stat -c %Y VERSION)

BINARY  ?= bin/baton
PREFIX  ?= /usr/local
LDFLAGS := -s -w -X baton/internal/daemon.release=$(VERSION) -X baton/internal/daemon.commit=$(COMMIT)

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
NFPM        := github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.0
FUZZTIME    ?= 20s

.PHONY: build man demo test race lint fuzz golden soak chaos interop bench pictures install package image clean

build: ## the binary, in bin/
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o $(BINARY) ./cmd/baton

demo: build ## two nodes, HAProxy, five faults, half a minute
	bin/baton demo

test: ## everything; installs the Debian packages that the tests need and that are missing, and makes a Debian root, once
	test/prepare
	[ "$$(id -u)" -ne 0 ] || test/root
	CGO_ENABLED=0 go test -count=1 $$(go list ./... | grep -v -e /test$$ -e /lab$$)
	CGO_ENABLED=0 go test -count=1 -p 1 -timeout 20m ./internal/lab ./test # by themselves: they count single packets

interop: ## docs/interop.md anew: baton against each kind of peer; a minute, root
	test/prepare
	go test -count=1 -run '^TestInterop$$' ./test -write

soak: build ## floods of forged packets, and a hundred crashes; they take the whole machine, so nothing else may run beside them
	test/prepare
	go test -count=1 -tags soak -run 'Flood|Crash' ./test

chaos: build ## real daemons through 500 random faults; six minutes, root
	test/prepare
	go run ./test/chaos

race: ## everything but the black-box tests, with the race detector
	go test -race -count=1 $$(go list ./... | grep -v /test)

lint: ## gofmt, vet, staticcheck (the scripts are checked by their tests)
	@test -z "$$(gofmt -l .)" || { echo 'gofmt:'; gofmt -l .; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...

fuzz: ## each fuzz target for FUZZTIME
	@for f in $$(grep -rlE '^func Fuzz' --include='*_test.go' .); do \
	  for t in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*).*/\1/p' $$f); do \
	    echo "$$(dirname $$f) $$t"; go test -run '^$$' -fuzz "^$$t$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$(dirname $$f) || exit 1; \
	  done; done

golden: ## write the golden files anew, docs/reference.md and docs/commands.md with them; read the difference before you commit it
	go test ./internal/config ./internal/control ./internal/keepalived ./vrrp/vrrptest -update
	go test ./cmd/baton -run '^TestPages$$' -update
	go test ./packaging -run Packages_ -update

bench: build ## the figures of the README, keepalived beside them; some minutes, root
	test/prepare
	go run ./test/bench

pictures: build ## docs/images anew, from a real run with keepalived beside baton; a minute, root
	test/prepare
	BATON=bin/baton go run ./test/pictures

man: build ## the manual pages and the completions of shells, in bin/
	mkdir -p bin/man bin/completion
	for page in baton.8 baton.yaml.5; do bin/baton man $$page >bin/man/$$page || exit 1; done
	for shell in bash zsh fish; do bin/baton completion $$shell >bin/completion/$$shell || exit 1; done

install: man ## under PREFIX; the scripts where baton looks bare names up. DESTDIR stands before both
	install -D -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/sbin/baton
	install -D -m 755 -t $(DESTDIR)/usr/libexec/baton $(filter-out %.go,$(wildcard scripts/*))
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man8 bin/man/baton.8
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man5 bin/man/baton.yaml.5
	install -D -m 644 bin/completion/bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/baton
	install -D -m 644 bin/completion/zsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_baton
	install -D -m 644 bin/completion/fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/baton.fish
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/baton configs/baton.schema.json
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/baton/checks configs/checks/*.yaml
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	for unit in packaging/*.service packaging/*.socket; do sed 's,/usr/sbin/,$(PREFIX)/sbin/,' $$unit >$(DESTDIR)$(PREFIX)/lib/systemd/system/$${unit#*/} || exit 1; done
	install -D -m 644 packaging/baton.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/baton.conf
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/baton/systemd packaging/drop-ins/*.conf packaging/60-baton.rules
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/baton/network-managers packaging/network-managers/*
	packaging/libraries >bin/LIBRARIES
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/baton README.md CHANGELOG.md LICENSE bin/LIBRARIES
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/baton/docs docs/*.md
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/baton/docs/images docs/images/*
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/baton/docs/guides docs/guides/*.md
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/baton/configs configs/*.yaml
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/baton/configs/monitoring configs/monitoring/*

package: build ## deb and rpm for each of ARCHITECTURES, in PACKAGES; what is in them is what `install` installs
	VERSION='$(VERSION)' MAINTAINER='$(MAINTAINER)' SOURCE_DATE_EPOCH='$(SOURCE_DATE_EPOCH)' NFPM='$(NFPM)' packaging/build $(PACKAGES) $(ARCHITECTURES)

image: ## a container image, with docker or podman
	@test -n '$(ENGINE)' || { echo 'make image: there is neither podman nor docker here; ENGINE=PROGRAM names another one' >&2; exit 1; }
	rm -rf bin/image
	$(MAKE) --no-print-directory -s install DESTDIR=bin/image PREFIX=/usr
	$(ENGINE) build --build-arg BASE=$(BASE) --tag $(IMAGE) --file packaging/Dockerfile bin/image

clean:
	rm -rf bin
