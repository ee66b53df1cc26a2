"""A comparison in words and tables: terminal, Markdown, CSV, JSON."""
