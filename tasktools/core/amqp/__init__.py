"""Messages as AMQP 0-9-1 encodes them: properties, field tables, `x-death`, and their keys."""
