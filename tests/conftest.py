"""Options and fixtures that every test may use."""

pytest_plugins = ["otlp_kit.plugin", "engines.fixtures"]
