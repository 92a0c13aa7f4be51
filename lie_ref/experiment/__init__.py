"""The experiment."""
