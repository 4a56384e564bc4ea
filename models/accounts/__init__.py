"""Who players are: users, tokens, revocation, signatures, keys."""
