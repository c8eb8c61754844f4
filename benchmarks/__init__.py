"""Measures each stage and the whole way, side by side with what it is compared to."""
