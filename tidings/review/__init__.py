"""What `check` and `deploy` find out beyond a single file.

files      flows, lanes and settings together: texts, providers, circles
changes    what another version of a flow means for what is open
reach      whether the systems that the settings name answer
standing   what a running flow has open, from its state in the log
"""

from tidings.review.files import review, review_settings

__all__ = ["review", "review_settings"]
