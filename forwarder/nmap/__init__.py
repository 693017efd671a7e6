"""Reading nmap's XML: framing that survives damage, strict parsing of each frame, plain dicts as results."""
