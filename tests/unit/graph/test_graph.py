"""`tidings graph`: what leads where, as text and as a picture in which nothing hides another."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tidings.content import content_root
from tidings.graph.dot import dot
from tidings.graph.layout import GAP, lay_out
from tidings.graph.mermaid import mermaid
from tidings.graph.model import Edge, Graph, Kind, Node, graph
from tidings.graph.svg import HIGH, svg
from tidings.problems import Problems
from tidings.records import Priority
from tidings.running.roster import roles, shipped_files
from tidings.settings import load_settings

BRANCHES = """\
flow: shop
source: {topic: shop.events, key: recipient_id}
steps:
  - fan_out:
      - name: photos
        steps:
          - digest: {by: [photo], window: 500ms, keep: last 0}
      - when: amount > 5
        steps:
          - filter: amount < 100
  - switch:
      cases:
        - when: urgent
          steps:
            - deliver: {to: sms, template: promo, priority: high}
  - deliver: {each_of: [push, email], template: promo}
"""


def drawn(*files: Path) -> Graph:
    problems = Problems()
    found = roles(files, list(Priority), {}, problems)
    problems.raise_if_any()
    return graph(found, load_settings(None, {}))


@pytest.fixture
def branches(tmp_path: Path) -> Graph:
    file = tmp_path / "shop.yaml"
    file.write_text(BRANCHES)
    return drawn(file)


def ways(picture: Graph) -> set[tuple[str, str, str]]:
    """Edges by labels."""
    label = {node.id: node.label for node in picture.nodes}
    return {(label[edge.source], edge.label, label[edge.target]) for edge in picture.edges}


def test_branches_part_and_join_again(branches: Graph) -> None:
    assert ways(branches) == {
        ("shop.events", "", "tidings.shop"),
        ("tidings.shop", "", "fan_out"),
        ("fan_out", "photos", "digest"),
        ("fan_out", "amount > 5", "filter"),
        ("digest", "", "switch"),
        ("filter", "", "switch"),
        ("switch", "urgent", "deliver"),
        ("switch", "else", "deliver"),
        ("deliver", "", "deliveries.sms.high"),
        ("deliver", "", "deliveries.push.normal"),
        ("deliver", "", "deliveries.email.normal"),
    }


def test_of_the_lanes_those_are_drawn_that_the_flows_lead_to() -> None:
    flows = content_root() / "flows"
    otp = drawn(flows / "otp.yaml", *sorted((flows / "lanes").glob("*.yaml")))
    assert otp.parts() == ["otp", "sms.high", "voice.high"]
    assert ("deliveries.sms.high", "", "expire") in ways(otp)
    assert ("send", "", "sandbox") in ways(otp)


def test_mermaid() -> None:
    picture = Graph(
        [Node("a", "a.events", Kind.TOPIC), Node("b", 'say "x"', Kind.KEYED, "a < b", "shop")],
        [Edge("a", "b", "always")],
    )
    assert mermaid(picture) == (
        "flowchart TB\n"
        '  subgraph p0["shop"]\n'
        '    n1[["say &quot;x&quot;<br/><small>a &lt; b</small>"]]\n'
        "  end\n"
        '  n0[("a.events")]\n'
        '  n0 -->|"always"| n1\n'
    )


def test_dot() -> None:
    picture = Graph(
        [Node("a", "a.events", Kind.TOPIC), Node("b", 'say "x"', Kind.STEP, "a < b", "shop")],
        [Edge("a", "b", "always")],
    )
    assert dot(picture) == (
        "digraph tidings {\n"
        '  node [fontname="sans-serif"];\n'
        "  subgraph cluster_0 {\n"
        '    label="shop";\n'
        '    "b" [label="say \\"x\\"\\na < b", shape=box];\n'
        "  }\n"
        '  "a" [label="a.events", shape=cylinder];\n'
        '  "a" -> "b" [label="always"];\n'
        "}\n"
    )


def test_no_node_hides_another_and_every_way_leads_down(branches: Graph) -> None:
    for picture in (branches, drawn(*shipped_files(content_root() / "flows"))):
        widths = {node.id: 100.0 + len(node.label) for node in picture.nodes}
        layout = lay_out(picture, widths)
        boxes = [(layout.places[name], width) for name, width in widths.items()]
        for ((x0, y0), one), ((x1, y1), other) in combinations(boxes, 2):
            assert abs(y0 - y1) > HIGH or abs(x0 - x1) >= (one + other) / 2 + GAP - 0.01
        for (x, y), width in boxes:
            assert width / 2 <= x <= layout.width - width / 2
            assert HIGH / 2 <= y <= layout.height - HIGH / 2
        for edge in picture.edges:
            heights = [y for _, y in layout.routes[edge]]
            assert heights == sorted(set(heights))


def test_svg_says_every_node_and_every_condition(branches: Graph) -> None:
    root = ElementTree.fromstring(svg(branches))
    said = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {node.label for node in branches.nodes} <= said
    assert {"photos", "amount > 5", "urgent", "else", "shop", "by: photo, window: 500ms"} <= said
    lines = re.findall(r'<path d="(.*?)" marker', svg(branches))
    assert len(lines) == len(branches.edges)


def test_a_picture_is_the_same_twice() -> None:
    files = shipped_files(content_root() / "flows")
    assert svg(drawn(*files)) == svg(drawn(*files))
