#!lua
-- Adds commits to the topic, if it still ends at the expected position.
--
-- KEYS  1 the position of the topic's last event   2… the partitions, streams with an entry for each commit: its id
--       is 0-<position of the last event>
-- ARGV  1 the expected end   then for each commit: its partition, the position of its last event, the entry
--
-- Answers 1, or 0 when the topic ends elsewhere.

if (redis.call('GET', KEYS[1]) or '0') ~= ARGV[1] then return 0 end
for i = 2, #ARGV, 3 do
  redis.call('XADD', KEYS[ARGV[i] + 2], '0-' .. ARGV[i + 1], 'c', ARGV[i + 2])
end
redis.call('SET', KEYS[1], ARGV[#ARGV - 1])
return 1
