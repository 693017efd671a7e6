"""Who ran nmap: the audit trail of the machine, and what our own wrapper writes down."""
