"""Diagnosis of a set-up before a run: devices, versions, data and speed (`examine`)."""
