"""Options and fixtures that every test may use."""

import os

# Tests start servers while clients of theirs are busy in other threads, and gRPC's handlers for
# a fork, which these starts are until their exec, then crash the child. Read when grpc is imported.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"

pytest_plugins = [
    "otlp_kit.plugin",
    "engines.fixtures",
    "backend_kit.places",
    "durability_kit.plugin",
    "fuzz_kit.plugin",
    "openfinops_kit.plugin",
]
