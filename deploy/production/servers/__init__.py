"""The servers of the picture, a module each: what writes its configuration and says how it is started."""
