"""Months of a plausible company's scans, with incidents planted: for trying dashboards and rules."""
