"""What the senders of text messages have in common, and the parts of each."""
