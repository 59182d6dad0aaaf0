"""What is learned: a word, its vectors, and its files."""
