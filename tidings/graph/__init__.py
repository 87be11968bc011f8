"""Flows and lanes as a picture: topics, steps, branches and providers, and what leads where.

    model    nodes and edges, from plans          mermaid, dot    as text for other tools
    layout   layers and places                    svg             as an image, with no tool at all

Outcomes and dead letters are left out: every part writes them, and the lines would hide the rest.
"""
