"""The commands that work on a model without the app, by the functions that the app works by."""
