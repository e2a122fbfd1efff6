#!lua flags=no-writes
-- Reads commits of a stream. What it does at once is bounded: nobody else is served meanwhile.
--
-- KEYS  1 the stream   2 the log   3 the log's id; see append.lua
-- ARGV  1 the index of the first element   2 how many elements at most   3 how many commits at most
--       4 whether the commit that the first element is inside of is wanted: 1 or 0
--       5 how many elements the stream may have: of a longer one nothing is read, and {} answered
--       6 which id the log has
--
-- Answers the index to go on at, or 0 when the stream ends here; a text with the id and the field of each commit's entry
-- in the log; and their values. Fewer strings are faster for both sides, and tables in tables slower. What older
-- programs appended is in the list itself, and has no id. Answers false when the log lacks a commit, and -1 when it is another log.

local LARGE, RUN = 1048576, 16
local call = redis.call

if call('GET', KEYS[3]) ~= ARGV[6] then return -1 end
local index, count, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if call('LLEN', KEYS[1]) > tonumber(ARGV[5]) then return {} end
local elements = call('LRANGE', KEYS[1], index, index + count - 1)
local distance = tonumber(elements[1])
if ARGV[4] == '1' and distance and distance > 0 then
  index = index - distance
  elements = call('LRANGE', KEYS[1], index, index + count - 1)
end

local answer, heads, commits, bytes, i = {0, ''}, {}, 0, 0, 1
local function add(id, field, value)
  heads[2 * commits + 1], heads[2 * commits + 2] = id, field
  commits, bytes = commits + 1, bytes + #value
  answer[commits + 2] = value
end

while i <= #elements and commits < limit and bytes < LARGE do
  local number = tonumber(elements[i])
  if not number then
    add('', 'c', elements[i])
  elseif number < 0 then
    -- Commits that are side by side in the log too, one event each, are found at once.
    local run, more = math.min(RUN, limit - commits), 0
    while more + 1 < run and tonumber(elements[i + more + 1]) == number - more - 1 do more = more + 1 end
    local entries = call('XRANGE', KEYS[2], '0' .. elements[i], '0' .. elements[i + more])
    if #entries <= more then return false end
    for _, entry in ipairs(entries) do add(entry[1], entry[2][1], entry[2][2]) end
    i = i + more
  end
  i = i + 1
end

if i <= #elements or #elements == count then answer[1] = index + i - 1 end
answer[2] = table.concat(heads, ' ')
return answer
