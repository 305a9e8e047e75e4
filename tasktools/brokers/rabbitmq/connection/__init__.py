"""One connection to RabbitMQ, and its HTTP API: threads, channels, confirms, errors."""
