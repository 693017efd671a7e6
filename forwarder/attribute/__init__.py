"""Which execution made which scan, and how sure that is: pure functions over what is known."""
