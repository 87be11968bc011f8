"""What the senders of e-mail have in common, and the parts of each that are no sender."""
