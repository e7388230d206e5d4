"""Requirements of a run on a TPU slice, from the TPU compiler alone (`plan`)."""
