"""TensorFlow Datasets builder of mvsa_features."""
