"""What the command does: one function a mode, which takes its flags and returns what to print."""
