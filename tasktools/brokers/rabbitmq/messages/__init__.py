"""Messages and events on their way: published, delivered, looked at, moved, listened to."""
