"""From a YAML file to typed values, with every value's place kept on the way.

    read, read_file     YAML text -> Map, Seq, Text; scalars stay text until a schema types them
    bind                a node -> a pydantic model, each error at its exact key or value
    placed, part        a problem that was found later, at the part of a node that it is about
    places_of           in which other models a field exists, for `bind`'s hints
    Json                the schema type of free data: numbers, true, false, null as JSON has them

PyYAML reads YAML 1.1, where `22:00` is 1320, `no` is false and a second `steps:` silently wins;
here nothing is typed before its schema is known, and a key given twice is refused.
"""

from tidings.load.binding import Places, bind, part, placed, places_of, spread
from tidings.load.freedata import Json, JsonData
from tidings.load.nodes import Entry, Map, Node, Seq, Text
from tidings.load.reader import read, read_file

__all__ = [
    "Entry",
    "Json",
    "JsonData",
    "Map",
    "Node",
    "Places",
    "Seq",
    "Text",
    "bind",
    "part",
    "placed",
    "places_of",
    "read",
    "read_file",
    "spread",
]
