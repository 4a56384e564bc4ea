"""What is scraped, what is alerted on, and the exporter that distributions do not have."""
