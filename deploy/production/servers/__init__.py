"""Each server of the picture: its configuration, written into a folder, and the part that runs it."""
