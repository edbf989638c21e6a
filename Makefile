# The steps of a person and of CI are the same: CI calls these targets.
# What is longer than a line or two lives in .ci/.

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
TOOLS    ?= ../shared/tools
FUZZTIME ?= 60s
export VERSION TOOLS FUZZTIME

.DEFAULT_GOAL := help
.PHONY: help run build test test-docker check bench bench-api growth pgo fuzz images save load push up stop rollout down deploy probe dropmatrix soak clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## run the whole site on this machine until Ctrl-C; data in ./data
	@.ci/site

build: ## build the four programs, static, into ./bin
	@.ci/build

test: ## install what the tests need, test everything raced, then test-docker
	@.ci/test

test-docker: ## build the images (IMAGES=ready: take those built), start the stack, ask it, take it down
	@.ci/test-docker

check: ## formatting, vet, staticcheck, vulnerabilities, architecture, scripts, routes.yaml
	@.ci/check

bench: ## beside nginx, haproxy and caddy (PEERS), one table; then the micro benchmarks
	@.ci/bench

bench-api: ## the api's embedded store with a million entries: p50 and p99
	go test -run '^$$' -bench Embedded -benchtime 5000x ./services/api/internal/embedded

growth: build ## what 10,000 routes, 500 targets, 20,000 open visitors cost: docs/growth.svg
	@.ci/growth

pgo: build ## a mixed load of 30 s (SECS) that writes gateway/cmd/pomodoro-main/default.pgo
	@.ci/pgo

fuzz: ## every fuzz target for FUZZTIME (60s)
	@.ci/fuzz

images: build ## one image per program from the binaries in ./bin
	@.ci/images

save: ## write the images into dist/images.tar
	@.ci/ship save

load: ## read the images from dist/images.tar
	@.ci/ship load

push: ## push the images to REGISTRY
	@.ci/ship push

up: ## start the stack from the images and wait until it answers
	@.ci/stack up

rollout: ## bring the running stack to IMAGE_TAG without a request lost
	@.ci/rollout

stop: ## end the stack, keep its data
	@.ci/stack stop

down: ## end the stack and remove all of it, the data too
	@.ci/stack down

deploy: ## bring the images to DEPLOY_HOST and roll them out there
	@.ci/ship deploy

probe: build ## HTTP/1.1 and HTTP/2 probes of TOOLS against a fresh gateway
	@.ci/probe

dropmatrix: ## requests lost in SCENARIOS (S0,S1,S2,S2c,S3,S4,S5,S6,S8,S9,S10,S10b,S11,S13), REPS (3) times each
	@.ci/dropmatrix

soak: ## a thousand swaps under 64 clients, raced: some minutes
	go test -race -tags soak -run Soak -v -timeout 30m ./gateway

clean: ## remove what was built; ./data stays
	rm -rf bin dist
