-- Echo with LuaSocket's select and a buffer for each connection.
local socket = require("socket")

local server = assert(socket.bind("127.0.0.1", tonumber(arg[1]), 511))
server:settimeout(0)
local waiting = {}
while true do
  local readers, writers = { server }, {}
  for client, data in pairs(waiting) do
    table.insert(data == "" and readers or writers, client)
  end
  local readable, writable = socket.select(readers, writers)
  for _, ready in ipairs(readable) do
    if ready == server then
      local client = server:accept()
      if client then
        client:settimeout(0)
        waiting[client] = ""
      end
    else
      local data, reason, part = ready:receive(8192)
      data = data or part
      if data ~= "" then
        waiting[ready] = data
      elseif reason == "closed" then
        waiting[ready] = nil
        ready:close()
      end
    end
  end
  for _, ready in ipairs(writable) do
    local sent, reason, part = ready:send(waiting[ready])
    if reason == "closed" then
      waiting[ready] = nil
      ready:close()
    else
      waiting[ready] = waiting[ready]:sub((sent or part) + 1)
    end
  end
end
