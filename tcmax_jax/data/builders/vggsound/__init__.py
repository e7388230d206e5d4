"""TensorFlow Datasets builder of vggsound."""
