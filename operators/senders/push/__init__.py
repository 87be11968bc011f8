"""What the senders of push have in common, and the parts of each that are no sender."""
