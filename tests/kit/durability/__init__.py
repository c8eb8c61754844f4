"""Senders that know what was acknowledged to them, and what a store must then hold."""
