"""Charts for the notebooks: what a run found, and the story of one record.

Every chart counts first and draws a few numbers, however large the data is. It shows in JupyterLab, in an executed notebook turned into
HTML, and in a file, without a network anywhere, and says in words what it shows::

    from recon import charts, jobs

    run = jobs.reconcile("ws")
    charts.disagreements(run)                      # the last expression of a cell shows it
    charts.disagreements(run).save("chart.svg")
"""

from __future__ import annotations

from recon.charts.chart import Chart
from recon.charts.comparing import compared
from recon.charts.graph import links
from recon.charts.runs import cluster_sizes, deadlines, disagreements
from recon.charts.sources import opt_outs
from recon.charts.verdicts import verdicts

__all__ = ["Chart", "cluster_sizes", "compared", "deadlines", "disagreements", "links", "opt_outs", "verdicts"]
