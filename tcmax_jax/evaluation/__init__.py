"""What a trained classifier is worth: metrics on whole splits."""
