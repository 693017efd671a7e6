"""What NSE scripts found, as facts: one module a family, `registry.read` for them all."""
