"""Which execution made which scan, and how sure that is. Pure functions: what is known comes in, what follows goes out."""
