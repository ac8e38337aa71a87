"""report.html: one file that needs no network, for a browser, a phone, a printer and MLflow's artifact pane."""

from workbench.report.html.page import page_html

__all__ = ["page_html"]
