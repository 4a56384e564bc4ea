"""The domain and its stores; knows neither HTTP nor Celery."""
