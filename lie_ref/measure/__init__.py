"""What one can ask of a network."""
