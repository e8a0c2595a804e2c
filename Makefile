# k8s-audit-enabler. `make` lists the targets. What is built from other modules goes to $(CACHE), outside the repository.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL: # images before push; and real control planes share one machine

CACHE     := $(or $(K8S_AUDIT_ENABLER_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/k8s-audit-enabler)
VERSION   ?= $(shell sed -n 's/^appVersion: *//p' charts/k8s-audit-enabler/Chart.yaml)
PLATFORMS ?= linux/amd64 linux/arm64
HOST      := $(shell go env GOOS)/$(shell go env GOARCH)
LDFLAGS   := -s -w -X k8s-audit-enabler.io/internal/buildinfo.version=$(VERSION)
NODES     ?= 1
NODE      ?= cp1
FUZZTIME  ?= 10s
RACE      := $(if $(shell command -v gcc),-race)

# A tool is built from its own module, once for each content of that module's go.sum.
tool = $(CACHE)/tools/$(1)-$(shell sha256sum tools/$(1)/go.sum | cut -c1-12)/$(1)
HELM          := $(call tool,helm)
GOLANGCI_LINT := $(call tool,golangci-lint)
GOVULNCHECK   := $(call tool,govulncheck)
HELM_DOCS     := $(call tool,helm-docs)
export HELM
# The rules of accessibility for the status page, from npm.
export AXE := $(CACHE)/tools/axe-$(shell sha256sum tools/axe/package-lock.json | cut -c1-12)/node_modules/axe-core/axe.min.js

# Local apiservers and receivers are never behind a proxy.
LOCAL := env -u http_proxy -u https_proxy -u HTTP_PROXY -u HTTPS_PROXY -u all_proxy -u ALL_PROXY

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^##@ /{print "\n" substr($$0, 5) ":"} /^[a-z0-9-]+:.*## /{printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ What users need

.PHONY: demo
demo: PLATFORMS = $(HOST)
demo: deps $(HELM) images ## Boot a real control plane, install the chart, show the first audit events
	$(LOCAL) go run -C test ./cmd/demo

.PHONY: build
build: ## Build the programs for PLATFORMS into dist/<os>_<arch>
	@for p in $(sort $(PLATFORMS) $(HOST)); do \
	  out=dist/$${p/\//_}; echo "build $$out"; mkdir -p $$out; \
	  CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} go build -trimpath -ldflags '$(LDFLAGS)' -o $$out/ ./cmd/...; \
	done

.PHONY: images
images: build ## Build the images into dist/images, without a registry or a Docker daemon
	hack/images.sh build '$(VERSION)' '$(PLATFORMS)'

.PHONY: push
push: ## Push the images as one multi-platform tag each: make images push REGISTRY=registry.internal/security
	@test -n '$(REGISTRY)' || { echo 'push: no registry named. Type: make images push REGISTRY=registry.internal/security' >&2; exit 2; }
	hack/images.sh push '$(VERSION)' '$(PLATFORMS)' '$(REGISTRY)'

##@ Tests

.PHONY: test
test: test-unit test-page test-fuzz test-chart test-integration test-e2e ## All tests; installs what they need

.PHONY: test-unit
test-unit: deps ## Unit tests of both modules; with the race detector where there is a C compiler, which it needs
	@test -n '$(RACE)' || echo 'no C compiler: without the race detector'
	go test $(RACE) ./...
	go test -run '^$$' -bench . -benchtime 1x ./nodeagent
	go test -C test -short ./lab/... ./receiver/... ./bench/... ./cmd/...

.PHONY: test-page
test-page: ## The status page in a headless browser, where there is one; screenshots in dist/page
	@$(LOCAL) go run -C test ./cmd/lab deps browser
	@test -f '$(AXE)' || { echo 'fetch axe-core'; d='$(patsubst %/node_modules/axe-core/axe.min.js,%,$(AXE))'; mkdir -p "$$d" && cp tools/axe/*.json "$$d" && npm ci --prefix "$$d" --ignore-scripts --no-audit --no-fund --silent; } \
	  || echo 'without axe-core: npm cannot fetch it here'
	$(LOCAL) go test -C test -count=1 -v ./page/...

.PHONY: test-fuzz
test-fuzz: ## Each fuzz target for FUZZTIME
	hack/fuzz.sh $(FUZZTIME)

.PHONY: test-chart
test-chart: deps $(HELM) ## The chart's tests: rendering, schema, RBAC, alerts; and building and pushing images
	$(LOCAL) go test -C test -count=1 ./chart/... ./images/...
	go test -C test/alerts -count=1 ./...

.PHONY: test-integration
test-integration: deps ## Coordinator and agent against real apiservers, old and new; the redirect on this kernel
	@for version in v1.34.4 v1.17.5; do \
	  echo "integration tests against kube-apiserver $$version"; \
	  K8S_AUDIT_ENABLER_TEST_KUBERNETES=$$version $(LOCAL) go test -C test -count=1 -v -p 1 -timeout 20m ./integration/... || exit 1; \
	done
	$(LOCAL) go test -C test -count=1 -v -timeout 10m ./handover/...

.PHONY: test-e2e
test-e2e: PLATFORMS = $(HOST)
test-e2e: deps $(HELM) images ## Scenarios on one and three real control planes
	$(LOCAL) go run -C test ./cmd/lab build
	$(LOCAL) go run -C test ./cmd/lab build -kubernetes v1.34.3
	@rm -rf dist/diagnoses && mkdir -p dist
	$(LOCAL) go test -C test -count=1 -v -p 1 -timeout $(if $(K8S_AUDIT_ENABLER_TEST_LONG),6h,40m) ./lab/... ./e2e/... 2>&1 | tee dist/e2e.log || \
	  { cat dist/diagnoses/* 2>/dev/null; hack/failures.sh dist/e2e.log; exit 1; }

.PHONY: test-long
test-long: FUZZTIME = 5m
test-long: export K8S_AUDIT_ENABLER_TEST_LONG = 1
test-long: test ## The same with long fuzzing, and the scenarios that take long

.PHONY: bench
bench: PLATFORMS = $(HOST)
bench: deps $(HELM) images ## Print the measured figures
	$(LOCAL) go run -C test ./cmd/bench

##@ The lab

.PHONY: lab-up
lab-up: deps ## Boot NODES control planes
	$(LOCAL) go run -C test ./cmd/lab up -nodes $(NODES)

.PHONY: lab-down
lab-down: ## Remove them
	$(LOCAL) go run -C test ./cmd/lab down

.PHONY: lab-shell
lab-shell: ## A shell in NODE
	@$(LOCAL) go run -C test ./cmd/lab shell $(NODE)

##@ The house

.PHONY: verify
verify: lint verify-generated $(GOVULNCHECK) ## Lint, generated files up to date, modules tidy, known vulnerabilities
	go mod tidy -diff
	go -C test mod tidy -diff
	go -C test/alerts mod tidy -diff
	hack/govulncheck.sh '$(GOVULNCHECK)'

.PHONY: verify-generated
verify-generated: $(HELM) $(HELM_DOCS)
	@mkdir -p dist
	@hack/install-yaml.sh '$(HELM)' > dist/install.yaml
	@$(HELM_DOCS) --chart-search-root charts --log-level warning --dry-run > dist/chart-readme.md
	@diff -u manifests/install.yaml dist/install.yaml && diff -u -B charts/k8s-audit-enabler/README.md dist/chart-readme.md \
	  || { echo 'verify: generated files are stale. Type: make generate' >&2; exit 1; }

.PHONY: lint
lint: $(GOLANGCI_LINT) ## go vet and golangci-lint on all modules
	go vet ./...
	go -C test vet ./...
	go -C test/alerts vet ./...
	$(GOLANGCI_LINT) run ./...
	cd test && $(GOLANGCI_LINT) run --config ../.golangci.yml ./...
	cd test/alerts && $(GOLANGCI_LINT) run --config ../../.golangci.yml ./...

.PHONY: fmt
fmt: $(GOLANGCI_LINT) ## Format all modules
	$(GOLANGCI_LINT) fmt ./...
	cd test && $(GOLANGCI_LINT) fmt --config ../.golangci.yml ./...
	cd test/alerts && $(GOLANGCI_LINT) fmt --config ../../.golangci.yml ./...

.PHONY: generate
generate: $(HELM) $(HELM_DOCS) ## Render manifests/install.yaml and the chart's README
	@mkdir -p dist
	hack/install-yaml.sh '$(HELM)' > dist/install.yaml
	mv dist/install.yaml manifests/install.yaml
	$(HELM_DOCS) --chart-search-root charts --log-level warning

.PHONY: tools
tools: $(HELM) $(GOLANGCI_LINT) $(GOVULNCHECK) $(HELM_DOCS) ## Build the pinned tools

$(CACHE)/tools/%:
	@name=$(notdir $@); echo "build tool $$name into $(dir $@)"; mkdir -p $(dir $@); \
	go -C tools/$$name build -trimpath -ldflags '-s -w' -o $@.tmp tool; mv $@.tmp $@

.PHONY: deps
deps: ## Install the Debian packages that are missing
	@$(LOCAL) go run -C test ./cmd/lab deps

.PHONY: clean
clean: ## Remove dist; the cache stays
	rm -rf dist
