"""What both studies share."""
