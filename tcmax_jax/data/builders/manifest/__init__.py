"""Data set built from a CSV of clips; kept empty so that worker processes start fast."""
