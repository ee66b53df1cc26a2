"""The comparison as one HTML file: table, curves and all, without another file or request."""

from pipeline.compare.page.document import html_page

__all__ = ["html_page"]
