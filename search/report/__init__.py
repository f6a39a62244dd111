"""The report of a search: charts, tables and one offline page. Imports no Ray and no torch."""

from search.report.write import write_report

__all__ = ["write_report"]
