"""Reports on finished runs, made from their result files alone."""
