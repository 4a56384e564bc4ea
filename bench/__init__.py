"""Measurements, one file a question; run against a running stack."""
