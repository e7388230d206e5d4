"""TensorFlow Datasets builder of anybody's clips."""
