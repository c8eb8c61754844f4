"""From points and log records to cost entries. Pure: no clock, no store, no log."""
