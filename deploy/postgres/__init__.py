"""A primary and its replica: how they are set up, and what a person runs when one of them fails (docs/postgres.md)."""
