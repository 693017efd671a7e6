"""Who ran nmap: the audit trail of the machine, and what our own wrapper writes down."""

TOOLS = ("nmap", "ncat", "nping", "masscan", "zmap")
"""Programs whose executions may become records; nmap always does."""
