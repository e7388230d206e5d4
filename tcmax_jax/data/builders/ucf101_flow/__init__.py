"""TensorFlow Datasets builder of ucf101_flow."""
