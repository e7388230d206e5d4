"""TensorFlow Datasets builder of crema_d_av."""
