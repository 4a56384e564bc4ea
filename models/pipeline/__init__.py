"""The way of one update: accept, wake, claim, apply, settle, refresh, publish; sweep, repair and forget."""
