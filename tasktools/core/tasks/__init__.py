"""Task messages: decoded, composed and edited."""
