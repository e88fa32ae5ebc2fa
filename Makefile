# The commands of this project. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help run test faults check fmt bench docs

help: ## Show these commands
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

run: ## Build, then run an aggregator and an agent on this machine until Ctrl-C
	@scripts/run

test: ## Install what the tests need where it is missing, then run all tests
	@scripts/setup-tests
	@scripts/test

faults: ## Kill, cut, lock and unplug for about twenty minutes, and count what was lost
	@scripts/faults

check: ## Formatting, lints, licences, advisories, banned crates
	@scripts/check

fmt: ## Format all code
	cargo fmt --all

docs: ## Write docs/metrics.md anew from the catalog
	UPDATE_DOCS=1 cargo test --locked -p monitoring-proto --lib the_documentation_page_is_the_table

bench: ## Print our figures beside those of the peers that are installed
	@bench/all
