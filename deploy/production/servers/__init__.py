"""The servers of the deployment: their configuration, and the process of each."""
