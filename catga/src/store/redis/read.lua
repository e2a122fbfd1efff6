#!lua flags=no-writes
-- Reads commits of a stream. What it does at once is bounded: nobody else is served meanwhile.
--
-- KEYS  1 the stream   2 the log; see append.lua
-- ARGV  1 the index of the first element   2 how many elements at most   3 how many commits at most
--       4 whether the commit that the first element is inside of is wanted: 1 or 0
--
-- Answers {the index to go on at, or 0 when the stream ends here, then the commits}: an entry of the log each,
-- false when the log lacks it, or an element that has the commit itself, as older programs appended them.

local LARGE, RUN = 1048576, 16

local index, count, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local elements = redis.call('LRANGE', KEYS[1], index, index + count - 1)
local distance = tonumber(elements[1])
if ARGV[4] == '1' and distance and distance > 0 then
  index = index - distance
  elements = redis.call('LRANGE', KEYS[1], index, index + count - 1)
end

local commits, bytes, i = {}, 0, 1
while i <= #elements and #commits < limit and bytes < LARGE do
  local number = tonumber(elements[i])
  if not number then
    commits[#commits + 1] = elements[i]
    bytes = bytes + #elements[i]
  elseif number < 0 then
    -- Commits that are side by side in the log too, one event each, are found at once.
    local run = math.min(RUN, limit - #commits)
    local more = 0
    while more + 1 < run and tonumber(elements[i + more + 1]) == number - more - 1 do more = more + 1 end
    local found = redis.call('XRANGE', KEYS[2], '0' .. elements[i], '0' .. elements[i + more])
    for n = 1, more + 1 do
      commits[#commits + 1] = found[n] or false
      if found[n] then bytes = bytes + #found[n][2][2] end
    end
    i = i + more
  end
  i = i + 1
end

local is_end = i > #elements and #elements < count
return {is_end and 0 or index + i - 1, unpack(commits)}
