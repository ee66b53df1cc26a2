"""The paper's tables filled with the runs that were set to train what each row says."""

from pipeline.compare.paper.filling import fill
from pipeline.compare.paper.rows import TABLES, WITHOUT_RUNS
from pipeline.compare.paper.table import FilledRow, PaperTable

HELP = f"fill a table of the paper with the runs that belong there: {', '.join(TABLES)}"

__all__ = ["HELP", "TABLES", "WITHOUT_RUNS", "FilledRow", "PaperTable", "fill"]
