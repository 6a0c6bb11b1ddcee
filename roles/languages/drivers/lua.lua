-- Loads the program, answers the calls. The functions it needs are bound before the program runs.
local nonce = table.remove(arg)
arg = {[0] = "program.lua"}
local replies = assert(io.open("/dev/fd/3", "wb"))
local write, flush, exit, stderr = replies.write, replies.flush, os.exit, io.stderr
local load, pcall, error, next, rawget, rawequal, type = load, pcall, error, next, rawget, rawequal, type
local kind, format, gsub, match, sub, len = math.type, string.format, string.gsub, string.match, string.sub, string.len
local concat, tostring = table.concat, tostring
local LARGEST, NODES, DEPTH = LARGEST_FRAME, 200000, 100
local TOO_LARGE, hex = {}, {}
for code = 0, 255 do hex[string.char(code)] = format("%02x", code) end

local function read(name)
  local file <close> = assert(io.open(name, "rb"))
  return file:read("a")
end

-- As the interpreter does with a file: a mark of its encoding and a first line for the shell are no part of it.
local program, calls = read("program.lua"):gsub("^\xEF\xBB\xBF", ""):gsub("^#[^\n]*", ""), {}
for line in io.lines("calls.hex") do
  calls[#calls + 1] = line:gsub("..", function(code) return string.char(tonumber(code, 16)) end)
end
local _, lines = gsub(program, "\n", "")

local function send(index, rest)
  local line = format("[%d,%s]", index, rest)
  if len(line) > LARGEST then line = format("[%d,\"big\"]", index) end
  write(replies, nonce, " ", line, "\n")
  flush(replies)
end

local left
local encode

local function list(tag, value, count, depth)
  local parts = {tag}
  for i = 1, count do parts[i + 1] = encode(rawget(value, i), depth + 1, tag == '"t"') end
  return "[" .. concat(parts, ",") .. "]"
end

-- A table whose keys are 1 to n is a list, the empty one too. As a key of another it is written as a tuple.
local function encode_table(value, depth, key)
  local count, listed = 0, true
  for _ in next, value do count = count + 1 end
  for i = 1, count do listed = listed and not rawequal(rawget(value, i), nil) end
  if listed then return list(key and '"t"' or '"l"', value, count, depth) end
  if key then return '["t","a table",["o","table"]]' end
  local parts = {'"d"'}
  for name, item in next, value do
    parts[#parts + 1] = "[" .. encode(name, depth + 1, true) .. "," .. encode(item, depth + 1) .. "]"
  end
  return "[" .. concat(parts, ",") .. "]"
end

encode = function(value, depth, key)
  local what = type(value)
  left = left - 1 - (what == "string" and len(value) // 16 or 0)
  if left < 0 or depth > DEPTH then error(TOO_LARGE, 0) end
  if what == "nil" then return "null" end
  if what == "boolean" then return value and "true" or "false" end
  if what == "string" then return '["y","' .. gsub(value, ".", hex) .. '"]' end
  if what == "table" then return encode_table(value, depth, key) end
  if what ~= "number" then return key and '["t","an object"]' or '["o","' .. what .. '"]' end
  if kind(value) == "integer" then return format('["j","%d"]', value) end
  return format('["f","%a"]', value)
end

local function raised(index, problem)
  local memory = type(problem) == "string" and match(problem, "not enough memory")
  send(index, format('"err","%s",1', memory and "MemoryError" or "Error"))
  pcall(function() write(stderr, sub(type(problem) == "string" and problem or type(problem), 1, 2000), "\n") end)
end

-- The calls are compiled behind the program, in its chunk: it may define what they name as locals.
local behind = {}
for i, call in ipairs(calls) do behind[i] = "function() return (" .. call .. "\n) end" end
local chunk = load(program .. "\nreturn {" .. concat(behind, ",") .. "}", "@program.lua", "t")
local alone, complaint
if not chunk then alone, complaint = load(program, "@program.lua", "t") end
if not (chunk or alone) then
  raised(-1, complaint)
  exit(1)
end
local loaded, functions = pcall(chunk or alone)
if not loaded then
  raised(-1, functions)
  exit(1)
end
send(-1, '"ok"')

for i = 1, #calls do
  local call = chunk and type(functions) == "table" and rawget(functions, i) or load("return (" .. calls[i] .. "\n)", "=call")
  left = NODES
  local fine, value = pcall(call)
  local written
  if fine then fine, written = pcall(encode, value, 0) else written = value end
  if fine then
    send(i - 1, '"val",' .. written)
  elseif rawequal(written, TOO_LARGE) then
    send(i - 1, '"big"')
  else
    local line = type(written) == "string" and match(written, "^program%.lua:(%d+): attempt to call a nil value %(global")
    if line and line + 0 > lines + 1 then send(i - 1, '"undefined"') else raised(i - 1, written) end
  end
end
exit(0)
