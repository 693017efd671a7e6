"""What is installed elsewhere."""
