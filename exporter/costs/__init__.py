"""From points and log records to cost entries: no clock and no store."""
