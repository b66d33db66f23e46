-- Asks the authorizing service with HAProxy's own HTTP client, which lets other requests go on
-- meanwhile. A database driver in Lua would stop them all.

local url = "http://127.0.0.1:8080/authorize"

-- The fields of the request that the authorizing service reads.
local asked = { "authorization", "x-forwarded-for", "x-request-id", "x-vpk-scope", "x-vpk-task" }

-- The fields of its answer that the service behind reads.
local handed_on = {
    "x-request-id", "x-vpk-key-id", "x-vpk-account", "x-vpk-lease", "x-vpk-running", "x-vpk-allowed",
}

-- The fields of a denial that the client gets.
local of_denial = {
    "content-type", "www-authenticate", "retry-after", "ratelimit", "ratelimit-policy",
    "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset",
}

-- Sets txn.vpk_key_id where the request may pass. haproxy.cfg answers 503 without it.
core.register_action("authorize", { "http-req" }, function(txn)
    local request = txn.http:req_get_headers()
    local headers = {}
    for _, name in ipairs(asked) do
        -- HAProxy counts values from 0, Lua lists from 1.
        if request[name] then headers[name] = { request[name][0], table.unpack(request[name]) } end
    end
    local answer = core.httpclient():get{ url = url, headers = headers, timeout = 10000 }
    if answer.status == 200 then
        txn.http:req_del_header("x-vpk-scope")
        txn.http:req_del_header("x-vpk-task")
        for _, name in ipairs(handed_on) do
            if answer.headers[name] then txn.http:req_set_header(name, answer.headers[name][0]) end
        end
        txn:set_var("txn.vpk_key_id", answer.headers["x-vpk-key-id"][0])
        return
    end
    if answer.status ~= 401 and answer.status ~= 403 and answer.status ~= 429 then return end
    local reply = txn:reply{ status = answer.status, body = answer.body }
    for _, name in ipairs(of_denial) do
        if answer.headers[name] then reply:add_header(name, answer.headers[name][0]) end
    end
    txn:done(reply)
end, 0)
