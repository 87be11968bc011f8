-- The payload of an id. ARGV: the id.
return redis.call('GET', 'tidings:payload:' .. ARGV[1])
