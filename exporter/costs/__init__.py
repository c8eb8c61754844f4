"""What things cost: from points and records to cost entries. Pure: no clock, no store, no log."""
