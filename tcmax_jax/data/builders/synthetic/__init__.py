"""TensorFlow Datasets builder of the built-in synthetic set."""
