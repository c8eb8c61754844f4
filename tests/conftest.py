"""Options and fixtures that every test may use."""

import os

# Tests start servers while clients of theirs are busy in other threads, and gRPC's handlers for
# a fork, which these starts are until their exec, then crash the child. Read when grpc is imported.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"

pytest_plugins = [
    "kit.otlp.plugin",
    "engines.fixtures",
    "kit.backends.locations",
    "kit.backends.timescaledb",
    "kit.durability.plugin",
    "kit.fuzz.plugin",
    "kit.openfinops.plugin",
]
