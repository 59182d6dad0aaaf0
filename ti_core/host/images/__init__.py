"""Images and captions from the host's folders and graphs."""
