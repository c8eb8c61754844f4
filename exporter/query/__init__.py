"""Reads a store: builds SQL from query arguments and returns rows as dicts."""

from exporter.query.read_only import open_reader
from exporter.query.reader import Reader
from exporter.query.times import parse_duration, parse_time

__all__ = ["Reader", "open_reader", "parse_duration", "parse_time"]
