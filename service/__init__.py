"""The front doors: command line and report; the only folder that reads the environment."""
