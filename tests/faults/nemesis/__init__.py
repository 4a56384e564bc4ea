"""What the nemesis can do: one module a family of faults; `catalogue.py` lists them all."""
