"""Each server of the picture: its configuration, written into a folder, and how it is started."""
