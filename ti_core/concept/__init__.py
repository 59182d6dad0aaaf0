"""What is learned from: images, captions and masks."""
