"""Reading: questions become SQL, answers become plain dicts."""

from exporter.query.reader import Reader
from exporter.query.times import parse_duration, parse_time

__all__ = ["Reader", "parse_duration", "parse_time"]
