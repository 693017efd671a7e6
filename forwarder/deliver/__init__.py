"""Sends sealed records on as documents. Takes documents, yields outcomes; knows no ledger."""
