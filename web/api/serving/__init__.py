"""How HTTP reaches the API: an event loop in front, Flask in threads behind it, the hottest routes before Flask.

`worker.py` is gunicorn's, `protocol.py` reads requests, `exchange.py` sees one through to its answer, and the files
`early_*.py` know the routes that need no thread. Nothing is decided early that Flask's views do not decide too, by the
same functions: whatever is out of the ordinary (a token not seen before, a body that is wrong, a header seldom sent)
goes to Flask untouched and before anything was spent, so that a request is counted once and answered in one way.
"""
