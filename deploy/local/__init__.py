"""The one-command stack: embedded stores and every process of the Procfile under a supervisor."""
