"""Senders that record what was acknowledged, and the stores that must have it."""
