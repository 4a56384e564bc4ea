"""How we talk to the stores: Postgres and Redis."""
