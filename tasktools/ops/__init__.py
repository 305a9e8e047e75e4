"""What one does with a broker."""
