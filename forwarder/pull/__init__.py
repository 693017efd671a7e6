"""Answers to questions, pulled from an archive with evidence and proofs, for people who trust no program of ours."""
