"""What a run would need of a TPU slice, as the TPU compiler says without one: `plan`."""
