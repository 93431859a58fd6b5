# The two commands that a newcomer needs: `make demo` and `make test`. Each installs what is missing.

.PHONY: help demo demo-stop test fuzz oracle lint bench

help:
	@echo "make demo            the whole story on real servers; leaves them running (CHECK=1: asserts and stops)"
	@echo "make demo-stop       ends what make demo left running"
	@echo "make test            every test, on real servers and with real clients"
	@echo "make fuzz            every fuzz target for SECONDS=30"
	@echo "make bench           what a statement costs beside a relay, PgBouncer and no proxy (SMOKE=1: only that it works)"
	@echo "make oracle          the analyser against real servers as oracle, at length, and PostgreSQL's own suite"
	@echo "make lint            fmt, clippy, cargo-deny, shellcheck"

demo:
	@scripts/install build demo
	@cargo build --bin daypass $(if $(CI),--test tidy) # CI has built the tests: with their features nothing is built twice
	@scripts/demo $(if $(CHECK),check)

demo-stop:
	@scripts/demo stop

test:
	@scripts/install build servers clients
	@cargo test

# Only our own crates are instrumented, so that most of what the tests have built is used again.
fuzz:
	@scripts/fuzz run $(or $(SECONDS),30)

oracle:
	@scripts/install build servers
	@scripts/oracle

lint:
	@scripts/lint

# The figures take twenty minutes, and want a machine that does nothing else. With SMOKE=1 everything
# runs once, short and not optimised, to show that it works.
bench:
	@scripts/install build servers bench
	@scripts/bench $(if $(SMOKE),smoke)
