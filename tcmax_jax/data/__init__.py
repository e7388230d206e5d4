"""From raw media to batches: decoding, features, prepared data sets, the input pipeline."""
