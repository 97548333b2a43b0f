# Every target is a line or two that also works by hand.

VERSION := $(shell cat VERSION)
PREFIX  ?= /usr/local
LDFLAGS := -s -w -X baton/internal/daemon.release=$(VERSION)

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 20s

.PHONY: build man demo test race lint fuzz golden soak interop bench install clean

build: ## the binary, in bin/
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/baton ./cmd/baton

demo: build ## two nodes, HAProxy, five faults, half a minute
	bin/baton demo

test: ## everything; installs the Debian packages that the tests need and that are missing
	test/prepare
	CGO_ENABLED=0 go test -count=1 $$(go list ./... | grep -v -e /test$$ -e /lab$$)
	CGO_ENABLED=0 go test -count=1 -p 1 -timeout 20m ./internal/lab ./test # by themselves: they count single packets

interop: ## docs/interop.md anew: baton against each kind of peer; a minute, root
	test/prepare
	go test -count=1 -run '^TestInterop$$' ./test -write

soak: build ## floods of forged packets, and a hundred crashes; they take the whole machine, so nothing else may run beside them
	test/prepare
	go test -count=1 -tags soak -run 'Flood|Crash' ./test

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

golden: ## write the golden files anew; read the difference before you commit it
	go test ./internal/config ./internal/control ./internal/keepalived ./vrrp/vrrptest -update

bench: build ## the figures of the README, keepalived beside them; some minutes, root
	test/prepare
	go run ./test/bench

man: build ## the manual pages and the completions of shells, in bin/
	mkdir -p bin/man bin/completion
	for page in baton.8 baton.yaml.5; do bin/baton man $$page >bin/man/$$page || exit 1; done
	for shell in bash zsh fish; do bin/baton completion $$shell >bin/completion/$$shell || exit 1; done

install: man ## under PREFIX; the scripts where baton looks bare names up. DESTDIR stands before both
	install -D -m 755 bin/baton $(DESTDIR)$(PREFIX)/sbin/baton
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
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/baton README.md CHANGELOG.md LICENSE
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/baton/docs docs/*.md
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/baton/configs configs/*.yaml
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/baton/configs/monitoring configs/monitoring/*

clean:
	rm -rf bin
