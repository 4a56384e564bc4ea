"""Boards: the catalogue, the ranking in Redis, deltas and events."""
