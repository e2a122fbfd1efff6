#!lua flags=no-writes
-- Reads commits of a stream. What it does at once is bounded: nobody else is served meanwhile.
--
-- KEYS  1 the stream   2 the log; see append.lua
-- ARGV  1 the index of the first element   2 how many elements at most   3 how many commits at most
--       4 whether the commit that the first element is inside of is wanted: 1 or 0
--
-- Answers {the index to go on at, or 0 when the stream ends here}, and then for each commit the id of its entry in the
-- log, the entry's field and its value; Redis is slow to answer with tables in tables. What older programs appended is
-- in the list itself, and has no id. Answers false when the log lacks a commit.

local LARGE, RUN = 1048576, 16

local index, count, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local elements = redis.call('LRANGE', KEYS[1], index, index + count - 1)
local distance = tonumber(elements[1])
if ARGV[4] == '1' and distance and distance > 0 then
  index = index - distance
  elements = redis.call('LRANGE', KEYS[1], index, index + count - 1)
end

local answer, commits, bytes, i = {0}, 0, 0, 1
local function add(id, field, value)
  local n = #answer
  answer[n + 1], answer[n + 2], answer[n + 3] = id, field, value
  commits, bytes = commits + 1, bytes + #value
end

while i <= #elements and commits < limit and bytes < LARGE do
  local number = tonumber(elements[i])
  if not number then
    add('', 'c', elements[i])
  elseif number < 0 then
    -- Commits that are side by side in the log too, one event each, are found at once.
    local run, more = math.min(RUN, limit - commits), 0
    while more + 1 < run and tonumber(elements[i + more + 1]) == number - more - 1 do more = more + 1 end
    local entries = redis.call('XRANGE', KEYS[2], '0' .. elements[i], '0' .. elements[i + more])
    if #entries <= more then return false end
    for _, entry in ipairs(entries) do add(entry[1], entry[2][1], entry[2][2]) end
    i = i + more
  end
  i = i + 1
end

if i <= #elements or #elements == count then answer[1] = index + i - 1 end
return answer
