"""Known bugs, and the answers of implementations that have them."""
