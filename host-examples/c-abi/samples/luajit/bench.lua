-- What a decision costs from LuaJIT: luajit bench.lua SETTINGS bench CASES COUNT, as `cargo xtask bench faces` calls it. Texts in, texts out.
local ffi = require "ffi"
ffi.cdef [[
    typedef struct smtp_fallback smtp_fallback;
    int smtp_fallback_open(const char *settings, smtp_fallback **handle, char **answer);
    int smtp_fallback_keys(smtp_fallback *handle, const char *arguments, char **answer);
    int smtp_fallback_decide(smtp_fallback *handle, const char *arguments, char **answer);
    void smtp_fallback_free(char *answer);
    void smtp_fallback_close(smtp_fallback *handle);
    struct timespec { long seconds, nanoseconds; };
    int clock_gettime(int clock, struct timespec *time);
]]
local library = ffi.load "libsmtp_fallback.so.0"

local function content(name)
    local file = assert(io.open(name))
    local text = file:read "*a"
    file:close()
    return text
end

local function resident() return tonumber(content "/proc/self/status":match "VmRSS:%s+(%d+)") end

local clock = ffi.new "struct timespec"
local function now()
    ffi.C.clock_gettime(1, clock)
    return tonumber(clock.seconds) * 1e9 + tonumber(clock.nanoseconds)
end

local place = ffi.new "char *[1]"
local function answer(code)
    local text = ffi.string(place[0])
    library.smtp_fallback_free(place[0])
    return code == 0 and text or error(text)
end

-- The file is written on one line by the program that measures, with its members in this order.
local cases, count = content(arg[3]), tonumber(arg[4])
local policy, secret = cases:match '^{"policy%-json":(".-[^\\]"),"secret":(".-")'
local settings = content(arg[1]):match "^(.*)}" .. (', "policy": %s, "secret": %s}'):format(policy, secret)
local handle = ffi.new "smtp_fallback *[1]"
answer(library.smtp_fallback_open(settings, handle, place))
local warm
for name, keys, decide in cases:gmatch '"name":"(%a+)","keys":(%b{}),"decide":(%b{})' do
    local function pair()
        answer(library.smtp_fallback_keys(handle[0], keys, place))
        return answer(library.smtp_fallback_decide(handle[0], decide, place))
    end
    assert((pair():find('"verdict":{"refuse"', 1, true) ~= nil) == (name == "refusal"), name .. ": another verdict")
    for _ = 1, 1000 do pair() end
    warm = warm or resident()
    local start = now()
    for _ = 1, count do pair() end
    print(("%s %d"):format(name, (now() - start) / count))
end
print(("memory %d %d"):format(warm, resident()))
library.smtp_fallback_close(handle[0])
