"""A flow with a test and texts. Lanes come along where there are none."""

FLOW = """
# What happens here becomes a notification: say in a line what it is about.
flow: $name
source:
  topic: $name.events
  key: recipient_id
  id: event_id
  fields: [event_id, type, recipient_id, actor_id, what]
steps:
  - filter: {keep: actor_id != recipient_id, reason: own_action}
  - dedupe: {by: event_id, within: 24h}
  - digest: {window: 30s, actors: actor_id, keep: last 3, fields: [what]}
  - consent: {category: $category}
  - deliver: {first_of: [push, email], template: $name, expires: 6h}
"""

TEST = """
# tidings test flows/$name.yaml
given:
  people:
    ana:
      addresses:
        - {kind: device, value: phone-ana, platform: ios}
        - {kind: email, value: ana@example.com}
  event: {type: $name, recipient_id: ana, actor_id: bob}

cases:
  - name: what happens within half a minute is one notification
    in:
      - {at: 0s, event: {event_id: e1, what: a letter}}
      - {at: 10s, event: {event_id: e2, what: a parcel}}
    out:
      $name.deliver:
        - {at: 30s, to: ana, delivered: push, members: [e1, e2], data: {count: 2}}

  - name: what one does oneself is no news
    in:
      - {at: 0s, event: {event_id: e1, actor_id: ana, what: a letter}}
    out:
      $name.filter:
        - {at: 0s, to: ana, dropped: own_action}

  - name: the phone says it
    given: {lanes: [push]}
    in:
      - {at: 0s, event: {event_id: e1, what: a letter}}
    out:
      $name.deliver:
        - {at: 30s, to: ana, delivered: push}
      push.send:
        - {at: 30s, to: ana, sent: phone-ana, parts: {title: News for you, body: a letter}}
"""

PUSH = """
# What the phone shows. Texts in other languages stand beside this one: push.es.j2.
--- title
News for you
--- body
{{ items[0].what }}{% if count > 1 %} and {{ count - 1 }} more{% endif %}
"""

EMAIL = """
--- subject
News for you
--- text
{% for item in items %}
{{ item.what }}
{%- endfor %}
"""

FILES = {
    "flows/$name.yaml": FLOW,
    "flows/$name.test.yaml": TEST,
    "config/templates/$name/push.en.j2": PUSH,
    "config/templates/$name/email.en.j2": EMAIL,
}
"""By path; ``$name`` and ``$category`` are to be filled in."""
