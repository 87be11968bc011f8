// Pushy's MockApnsServer, with its own validation of tokens, topics, sizes and signatures.
//
//   server.js PORT CERTIFICATE KEY PUBLIC_KEY KEY_ID TEAM_ID TOPICS DEVICES EXPIRED CLIENT
//
// TOPICS: with commas between; each device knows all of them.
// DEVICES and EXPIRED: device tokens with commas between; the expired ones were so at 1700000000 s.
// CLIENT: a certificate that it trusts, in place of a token, for the topic that is its subject's UID.
// It writes one JSON line for each notification that it accepts.
var java = Packages.java;
var pushy = Packages.com.eatthepath.pushy.apns;

var port = Number(arguments[0]);
var devices = new java.util.HashSet();
arguments[7].split(",").forEach(function (token) { devices.add(token); });
var topics = new java.util.HashMap();
arguments[6].split(",").forEach(function (topic) { topics.put(topic, devices); });
var expired = new java.util.HashMap();
arguments[8].split(",").forEach(function (token) {
  expired.put(token, java.time.Instant.ofEpochSecond(1700000000));
});

var key = pushy.auth.ApnsVerificationKey.loadFromPkcs8File(
  new java.io.File(arguments[3]), arguments[5], arguments[4]);
var factory = new pushy.server.ValidatingPushNotificationHandlerFactory(
  topics,
  expired,
  java.util.Collections.singletonMap(arguments[4], key),
  java.util.Collections.singletonMap(key, topics.keySet()));

var listener = new JavaAdapter(pushy.server.MockApnsServerListener, {
  handlePushNotificationAccepted: function (headers, payload) {
    var accepted = { payload: String(payload.toString(java.nio.charset.StandardCharsets.UTF_8)) };
    for (var all = headers.iterator(); all.hasNext();) {
      var header = all.next();
      accepted[String(header.getKey())] = String(header.getValue());
    }
    print(JSON.stringify(accepted));
  },
  handlePushNotificationRejected: function (headers, payload, reason, timestamp) {}
});

new pushy.server.MockApnsServerBuilder()
  .setServerCredentials(new java.io.File(arguments[1]), new java.io.File(arguments[2]), null)
  .setTrustedClientCertificateChain(new java.io.File(arguments[9]))
  .setUseAlpn(true)
  .setHandlerFactory(factory)
  .setListener(listener)
  .build()
  .start(port)
  .join();
java.lang.Thread.currentThread().join();
