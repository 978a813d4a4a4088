"""The example customer, and scripts that show the platform to a newcomer."""
