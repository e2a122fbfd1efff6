#!lua
-- Deletes a key, if it is at the expected revision. See put.lua.
--
-- KEYS  1 the key
-- ARGV  1 the expected revision
--
-- Answers 1, or 0 when the key is at another one.

local current = redis.call('GETRANGE', KEYS[1], 0, 7)
if current == '' or struct.unpack('>I8', current) ~= tonumber(ARGV[1]) then return 0 end
return redis.call('DEL', KEYS[1])
