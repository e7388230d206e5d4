"""TensorFlow Datasets builder of ave."""
