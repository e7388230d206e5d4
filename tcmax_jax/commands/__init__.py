"""The modes of the command line: each takes its flags and returns the text to print."""
