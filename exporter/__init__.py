"""OpenTelemetry metrics and cost signals, kept in a database that you already run."""
