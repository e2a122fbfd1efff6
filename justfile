# What one can do here. `just` alone lists it.
_default:
    @just --list --unsorted

# Run order-system in memory on http://127.0.0.1:5000
[group('run')]
run *flags:
    cargo run --release --package order-system -- {{flags}}

# The same with the log in files below ./data, which a power cut leaves whole
[group('run')]
run-file *flags:
    cargo run --release --package order-system -- --persistence file {{flags}}

# The same on Redis at localhost:6379; starts a server when none answers
[group('run')]
run-redis *flags:
    scripts/run-with.sh redis {{flags}}

# The same on NATS JetStream at localhost:4222; starts a server when none answers
[group('run')]
run-nats *flags:
    scripts/run-with.sh nats {{flags}}

# Three nodes on one store, redis, nats or three servers (nats3), on ports 5000 to 5002
[group('run')]
cluster store='redis' *flags:
    scripts/cluster.sh run {{store}} {{flags}}

# Kill `node 2|3`, `server 1|2|3` or the `leader` of the running cluster, to see the others go on
[group('run')]
cluster-kill what='node' number='2':
    scripts/cluster.sh kill {{what}} {{number}}

# Bring a killed node or server back
[group('run')]
cluster-start what='node' number='2':
    scripts/cluster.sh start {{what}} {{number}}

# Drive a running server through an order's life: a ✓ or ✗ a step
[group('test')]
quick-test url='http://127.0.0.1:5000':
    scripts/quick-test.sh {{url}}

# Every transport with every store, alone and as a cluster: a line each
[group('test')]
test-all:
    cargo build --package order-system
    cargo test --package catga-tests --test promises p10_every_transport -- --nocapture

# Everything that CI runs
[group('test')]
test:
    scripts/test.sh

# Faults that overlap on three nodes and their servers, judged: --minutes N, --seed S
[group('test')]
chaos *flags:
    scripts/chaos.sh {{flags}}

# Kill order-system and each store in turn under load, far more often than CI does
[group('test')]
crashes rounds='100':
    cargo build --package order-system
    CATGA_ROUNDS={{rounds}} cargo test --package catga-tests --test promises p2_crashes -- --nocapture --test-threads 2

# Format, lints, tests, doctests, documentation: the same as `test`
[group('test')]
verify: test

# Check every answer of a running server against its OpenAPI document
[group('test')]
contract url='http://127.0.0.1:5000':
    scripts/schemathesis.sh {{url}}

# Measure: each line is a ratio to a limit taken in the same run
[group('measure')]
bench *programs:
    scripts/bench.sh {{programs}}

# The same with three times as many rounds
[group('measure')]
bench-full *programs:
    CATGA_BENCH=full scripts/bench.sh {{programs}}

# Write the tables of docs/benchmarks.md from the last runs
[group('measure')]
bench-report:
    cargo run --release --package catga-bench --bin report

# Count the instructions of a command, and keep the figures that the tests hold them to
[group('maintain')]
instructions:
    scripts/instructions.sh --bless

# Add lines to events.lock for event versions that have none, and rewrite the help and the compile-error texts
[group('maintain')]
golden:
    CATGA_BLESS=1 cargo test --package order-system --test domain
    cargo build --package order-system
    CATGA_BLESS=1 cargo test --package catga-tests --test golden
    TRYBUILD=overwrite cargo test --package catga --test ui

# Format the code
[group('maintain')]
fmt:
    cargo fmt --all

# Build the documentation
[group('maintain')]
docs:
    cargo doc --workspace --no-deps --open
