"""The report of a search: charts, tables and one offline page. Imports no Ray and no torch."""

from search.report.write import write_report, write_report_of

__all__ = ["write_report", "write_report_of"]
