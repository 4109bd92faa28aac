# `make help` says what there is. You need Go 1.26, a C compiler for the race detector, and Node 20.19 for tests and packaging.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c

GO ?= go
FUZZTIME ?= 10s
GOLANGCI_LINT := bin/golangci-lint-v2.15.0

.DEFAULT_GOAL := help
.PHONY: help run demo build lrcp web page package assets docs test lint bench compare quality faults fuzz openapi check-go

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1 	/p' Makefile | expand -t 16

run: page lrcp ## everything on this machine, until Ctrl-C: the functions and their page on :8080, the stand-in for Datadog on :8081
	@bin/lrcp up

demo: lrcp ## plays the failures; exit status 0 only if every loop closed and reverted
	@bin/lrcp demo

build: page lrcp ## bin/lrcp, and one binary per function
	@for main in functions/*/cmd; do name=$${main#functions/}; $(GO) build -o bin/$${name%/cmd} ./$$main || exit; done

lrcp: check-go
	@$(GO) build -o bin/lrcp ./scripts/lrcp

package: web lrcp node_modules ## the functions as zips for Lambda, and what CloudFormation would be given, offline
	@bin/lrcp package

web: functions/theater/web/dist/index.html ## the page of the Failure Theater, which is built into the function theater

# Where there is no Node, everything but the page runs.
page:
	@if command -v npm > /dev/null; then $(MAKE) --no-print-directory web; else echo "There is no Node 20.19: the functions run without their page."; fi

functions/theater/web/dist/index.html: functions/theater/web/node_modules $(filter-out functions/theater/web/node_modules functions/theater/web/dist functions/theater/web/screenshots,$(wildcard functions/theater/web/* functions/theater/web/src/* functions/theater/web/public/*))
	@npm run --silent --prefix functions/theater/web build > /dev/null
	@touch $@

functions/theater/web/node_modules: functions/theater/web/package.json functions/theater/web/package-lock.json
	@npm ci --prefix functions/theater/web --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

assets: lrcp openapi ## checks the Datadog assets and executes their tests, offline
	@bin/lrcp assets validate && bin/lrcp assets test

docs: check-go ## writes the README's tables of metrics and assets anew
	@$(GO) test ./infra/assets/tables -update

# Datadog's OpenAPI description is in this module. Nothing of it is compiled, so that building does not fetch it.
openapi: check-go
	@$(GO) mod download github.com/DataDog/datadog-api-client-go/v2

# Packaging for Lambda, and the emulators of DynamoDB and Firestore. No package here needs its install scripts.
node_modules: package.json package-lock.json
	@command -v npm > /dev/null || { echo "Node 20.19 or later is needed: https://nodejs.org has it, and .ci/run installs it." >&2; exit 1; }
	@npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch node_modules

# go test vets with all analyzers here, so that nothing is compiled a second time for go vet. The long timeout is for
# a first run: infra/lambda/runtimetest compiles the binaries of all functions. Tests that repeat the same code hundreds of
# times run as a sample with the race detector, or not at all, and whole without; that of the page in a browser is a look
# at it here, and `go test ./infra/e2e/theater` plays every scenario. What compiles with the flags of a deployment does so after
# runtimetest, or both would compile the same at the same time. GOGC is for the compiler, which is a fifth faster with it. The
# last line counts packages.
test: export GOGC = 400
test: openapi node_modules web ## formatting, vet, and all tests with the race detector, in random order
	@unformatted=$$(gofmt -l $(filter-out bin/ build/ node_modules/,$(wildcard *.go */))) && if [ -n "$$unformatted" ]; then echo "run gofmt -w on:" $$unformatted >&2; exit 1; fi
	@( $(GO) test -race -short -shuffle=on -vet=all -timeout 20m ./...; status=$$?; \
		$(GO) test -shuffle=on -vet=off -run 'EverySeededDefect|ACrashAnywhere|BodiesAreAs|BuildAsTheDockerfileSays|Season' ./infra/assets/check ./infra/assets/deploy ./infra/cloudrun ./infra/local/ddfake/monitor && exit $$status \
	) | awk '{ print; fflush() } /^ok/ { ok++ } /^FAIL\t/ { bad++ } END { printf "%d passed, %d failed\n", ok, bad }'

lint: check-go $(GOLANGCI_LINT) ## golangci-lint, installed into bin at first use
	@$(GOLANGCI_LINT) run ./...

$(GOLANGCI_LINT):
	GOBIN=$(CURDIR)/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(subst bin/golangci-lint-,,$@)
	@mv bin/golangci-lint $@

bench: check-go ## every benchmark once
	@$(GO) test -run '^$$' -bench . -benchmem ./...

compare: check-go ## this gateway beside a bare reverse proxy, Bifrost core, Portkey and LiteLLM; wants a quiet machine
	@cd scripts/bench && $(GO) run .

quality: check-go ## how well the quality signals tell supported answers from others
	@$(GO) run ./scripts/quality

faults: check-go ## what callers get, and what is counted, when providers, the state, the agent or clocks fail
	@mkdir -p build && $(GO) test -count=1 ./infra/e2e/faults -report $(CURDIR)/build/faults.md > build/faults.log 2>&1 && cat build/faults.md || { cat build/faults.log; exit 1; }

fuzz: check-go ## every fuzz target for FUZZTIME, 10s
	@grep -ro --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's|/[^/]*:func | |' | sort | while read -r package target; do \
		echo "$$package $$target"; $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package || exit; \
	done

# Go 1.21 and later fetch the version that go.mod names by themselves; go list fails where neither is possible.
check-go:
	@$(GO) list -m > /dev/null || { echo "Go 1.26 is needed: https://go.dev/dl/ has it, and .ci/run installs it." >&2; exit 1; }
