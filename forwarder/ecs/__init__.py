"""Records in the Elastic Common Schema, made from what nmap says; the table of their fields, and its check."""
