"""What is kept of a run, so that nothing of it is lost."""
