"""What differs between two scans, whether they are files or sealed records."""
