#!lua
-- Appends one commit, if its stream still ends at the expected version.
-- With the first line, Redis refuses the script for want of memory before it runs, never half-way.
--
-- KEYS  1 the stream, a list with an element for each event: its length is the version
--       2 the log, a stream with an entry for each commit: its id is 0-<position of the last event>
--       3 the position of the last event in the log   4 the log's id
-- ARGV  1 the expected version   2 how many events   3 the frame   4 which id the log has
--
-- Answers {1, the position of the first event}, or {0, the actual version}; {2, 0} when it is another log.

if redis.call('GET', KEYS[4]) ~= ARGV[4] then return {2, 0} end
local version = redis.call('LLEN', KEYS[1])
if version ~= tonumber(ARGV[1]) then return {0, version} end

-- A script that fails is not rolled back. INCRBY and XADD can still fail, on a key that somebody else
-- wrote, and leave at most unused positions. Once XADD went well, RPUSH does: LLEN saw a list.
local events = tonumber(ARGV[2])
local last = redis.call('INCRBY', KEYS[3], events)
redis.call('XADD', KEYS[2], string.format('0-%.0f', last), ARGV[2], ARGV[3])

-- The first element says which entry it is; the others say how far back that one is.
local elements = {-last}
for distance = 1, events - 1 do elements[distance + 1] = distance end
redis.call('RPUSH', KEYS[1], unpack(elements))
return {1, last - events + 1}
