"""Who is watched, stopped or held back, and what is undone: rules, incidents, moderation, the audit chain."""
