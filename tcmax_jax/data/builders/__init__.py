"""Builders of the data sets, in the form TensorFlow Datasets asks for."""
