"""What is learned from: pictures, captions and masks."""
