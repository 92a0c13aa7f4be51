"""What the pages of both studies share: markup, charts and the style sheet."""
