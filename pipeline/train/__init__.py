"""Training: loop.py is the page to read; meter.py adds up, view.py shows."""
