"""The drill: one of everything in the production picture is lost in turn, under traffic."""
