"""The Celery worker: wakes up, drains shards, sweeps and repairs."""
