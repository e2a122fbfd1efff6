#!lua
-- Puts a value under a key, if the key is at the expected revision.
--
-- KEYS  1 the key: eight bytes of revision, then the value
--       2 the last revision given to any key, so that none comes back when a key is made anew   3 the log's id
-- ARGV  1 the expected revision, 0 for no value   2 the value   3 milliseconds to live, 0 for ever
--       4 which id the log has
--
-- Answers the new revision, or 0 when the key is at another one; -1 when these are another log's values.

if redis.call('GET', KEYS[3]) ~= ARGV[4] then return -1 end
local current = redis.call('GETRANGE', KEYS[1], 0, 7)
local revision = 0
if current ~= '' then revision = struct.unpack('>I8', current) end
if revision ~= tonumber(ARGV[1]) then return 0 end

revision = redis.call('INCR', KEYS[2])
local value = struct.pack('>I8', revision) .. ARGV[2]
if ARGV[3] == '0' then
  redis.call('SET', KEYS[1], value)
else
  redis.call('SET', KEYS[1], value, 'PX', ARGV[3])
end
return revision
