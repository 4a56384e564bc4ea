"""Whether a migration can run while the version before it serves: tried on a scratch database with rows in it."""
