"""The log in SQLite: for one machine with nothing installed, and it loses nothing either.

FOLDER/topics/<topic>.db     one file per topic, so that topics do not wait for each other
FOLDER/topics/<topic>.pulse  changes with each append
FOLDER/groups/<group>.db     the group's positions
FOLDER/groups/<group>.lock   held by the one process that reads for the group
"""

from tidings.log.sqlite.log import SqliteLog

__all__ = ["SqliteLog"]
