"""The sockets: a process of its own that pushes boards to those who listen."""
