"""The hottest routes, answered before Flask when everything is at hand; Flask answers the same, and all the rest.

Nothing is decided here that Flask's views do not decide too, by the same functions and in the same order. Whatever is
out of the ordinary (a token not seen before, a body that is wrong, a header seldom sent) is passed on untouched and
before anything was spent, so that a request is counted once and answered in one way.
"""
