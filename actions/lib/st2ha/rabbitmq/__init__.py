"""RabbitMQ clusters: checked, drained, mended."""
