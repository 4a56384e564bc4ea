"""The servers of the picture that are not ours: each module writes a configuration and gives the part that runs it."""
