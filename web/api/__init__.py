"""The JSON API: parse, one call into models, answer."""
