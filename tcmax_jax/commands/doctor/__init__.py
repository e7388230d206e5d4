"""What a run would find on this machine, and what is wrong with it: `examine`."""
