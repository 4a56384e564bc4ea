"""Mutants: the service, broken in one place each, and what has to go red for it (`make mutants`)."""
