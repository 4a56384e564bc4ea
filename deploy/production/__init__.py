"""`make production`: the whole deployment on one machine, without containers."""
