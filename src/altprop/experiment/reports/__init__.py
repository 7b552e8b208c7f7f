"""Reports that merge runs into one page: tables for people, programs and papers, curves, pictures, recipes.

:func:`report` takes the folders of runs of any kind, and says where the page is.
"""

from altprop.experiment.reports.records import Report
from altprop.experiment.reports.running import report

__all__ = ["Report", "report"]
