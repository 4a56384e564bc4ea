"""What the figures are compared with in the same run."""
