"""Evaluation of trained classifiers: metrics, analyses and reports."""
