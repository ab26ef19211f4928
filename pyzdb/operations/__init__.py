"""What can be done to a stored value."""
