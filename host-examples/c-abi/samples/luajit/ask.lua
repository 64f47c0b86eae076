-- Asks the policy about two mails: luajit ask.lua COMPONENT.
local ffi = require "ffi"
ffi.cdef [[
    typedef struct smtp_fallback smtp_fallback;
    int smtp_fallback_open(const char *settings, smtp_fallback **handle, char **answer);
    int smtp_fallback_decide(smtp_fallback *handle, const char *arguments, char **answer);
    void smtp_fallback_free(char *answer);
    void smtp_fallback_close(smtp_fallback *handle);
]]
local library = ffi.load "libsmtp_fallback.so.0"

-- The answer as text. Where there is none, mail passes: a filter would log this and accept.
local function answer(call)
    local place = ffi.new "char *[1]"
    local code = call(place)
    local text = ffi.string(place[0])
    library.smtp_fallback_free(place[0])
    return code == 0 and text or error(text)
end

-- A filter would use a JSON library, such as lua-cjson. These members are texts without escapes, or numbers.
local function member(json, name)
    return json:match('"' .. name .. '":"?([^",]+)')
end

local handle = ffi.new "smtp_fallback *[1]"
local settings = ('{"component": "%s", "policy": {}, "instances": 1}'):format(arg[1])
local summary = answer(function(place) return library.smtp_fallback_open(settings, handle, place) end)
print("mode: " .. member(summary, "mode"))

local form = [[{
    "connection": {"stage": "end-of-data", "client": "2001:db8::25", "listener": "mx", "ehlo-name": "mail.example.org", "tls": "none",
        "authenticated": false, "listener-offers": false, "keyword-shown": false, "acknowledged": false, "reachable-over-ipv4": true,
        "ipv4-arrivals-visible": false, "now": %d, "nonce": %d, "records": []},
    "envelope": {"mail-from": "smith@example.org", "recipients": ["jones@example.net"]},
    "message": {"message-id": "<1@example.org>", "from-domain": "example.org", "size": 1000},
    "auth-results": {"spf-mail-from": {"result": "%s", "domain": "example.org"}, "dkim": []}}]]

math.randomseed(os.time())
for _, spf in ipairs {"fail", "pass"} do
    local mail = form:format(os.time(), math.random(0, 2 ^ 31 - 1), spf)
    local decision = answer(function(place) return library.smtp_fallback_decide(handle[0], mail, place) end)
    print(member(decision, "reason"))
    local lines = decision:match '"refuse":.-"lines":%[(.-)%]'
    if lines then
        for line in lines:gmatch '"(.-)"' do
            print(member(decision, "code") .. " " .. member(decision, "enhanced%-code") .. " " .. line)
        end
    else
        print "250 2.0.0 OK"
    end
end
library.smtp_fallback_close(handle[0])
