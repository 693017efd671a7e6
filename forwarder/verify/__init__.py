"""Everything that judges: is an archive what was sealed? docs/SEALED_ARCHIVE.md, section 8."""
