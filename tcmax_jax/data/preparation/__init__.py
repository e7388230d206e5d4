"""Preparation of a data set of clips: from a list to records on disk, resumable."""
