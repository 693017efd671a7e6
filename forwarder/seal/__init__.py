"""The sealed format: canonical JSON, Merkle tree, tiles, manifests, signed notes. Pure functions, no files."""
