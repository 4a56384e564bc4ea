"""How Scoreboard is run: on one machine with one command, and on many."""
