"""A page about finished runs, made from their result files alone."""
