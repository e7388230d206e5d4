"""TensorFlow Datasets builder of kinetics_sounds."""
