-- The policy by hand, for Lua 5.4 and LuaJIT. `settings` and `within(client, list)` are the host's. The outcome of a check is true, false, or nil
-- where it is not known.
local DAY = 24 * 3600
local CAPABILITY_LASTS = 30 * DAY
local LONGEST_PENALTY = 6 * 3600 * 12 / 10
local PERMERROR = "The SPF record of the sender's domain cannot be evaluated (permerror): its administrator should correct it"

local function set(list)
  local all = {}
  for _, entry in ipairs(list) do all[entry] = true end
  return all
end
local exempt_domains, exempt_recipients = set(settings.exempt_domains), set(settings.exempt_recipients)
local has_exempt_domains = next(exempt_domains) ~= nil
local see = settings.url and "; see " .. settings.url or ""

local function of_result(result)
  if result == "pass" then return true end
  if result == "temperror" then return nil end
  return false
end

local function any(one, other)
  if one or other then return true end
  if one == nil or other == nil then return nil end
  return false
end

-- For MAIL FROM, and for the null sender for HELO, too.
local function spf_results(envelope, results)
  if not envelope or not results then return nil, nil end
  return results["spf-mail-from"], envelope["mail-from"] == "" and results["spf-helo"] or nil
end

local function spf(envelope, results)
  local mail_from, helo = spf_results(envelope, results)
  if not mail_from and not helo then return nil end
  local known = false
  if mail_from then known = of_result(mail_from.result) end
  if helo then known = any(known, of_result(helo.result)) end
  return known
end

local function dkim(results)
  if not results or not results.dkim then return nil end
  local known = false
  for _, signature in ipairs(results.dkim) do
    if not signature.testing then known = any(known, of_result(signature.result)) end
  end
  return known
end

local function spf_word(envelope, results)
  local mail_from, helo = spf_results(envelope, results)
  if not mail_from or helo and mail_from.result ~= "pass" and (helo.result == "pass" or mail_from.result == "none") then
    return helo and helo.result or "unknown"
  end
  return mail_from.result
end

local function dkim_word(results)
  if not results or not results.dkim then return "unknown" end
  local first = results.dkim[1]
  if not first then return "none" end
  local testing = false
  for _, signature in ipairs(results.dkim) do
    if signature.result == "pass" then
      if not signature.testing then return "pass" end
      testing = true
    end
  end
  return testing and "testing" or first.result
end

-- `example.org` stands for that name, `.example.org` for all below it.
local function is_listed(name)
  name = name:lower():gsub("%.$", "")
  if exempt_domains[name] then return true end
  local dot = name:find(".", 2, true)
  while dot do
    if exempt_domains[name:sub(dot)] then return true end
    dot = name:find(".", dot + 1, true)
  end
  return false
end

local function domain_is_exempt(envelope, results)
  if not has_exempt_domains then return false end
  local function counts(of) return of and of.result == "pass" and is_listed(of.domain) end
  local mail_from, helo = spf_results(envelope, results)
  local dmarc = results and results.dmarc
  if counts(mail_from) or counts(helo) or counts(dmarc) then return true end
  for _, signature in ipairs(results and results.dkim or {}) do
    if not signature.testing and counts(signature) then return true end
  end
  if spf(envelope, results) == nil or dkim(results) == nil or dmarc and of_result(dmarc.result) == nil then return nil end
  return false
end

local function recipient_is_exempt(recipient)
  recipient = recipient:lower()
  if exempt_recipients[recipient] then return true end
  local name, domain = recipient:match("^(.*)(@[^@]*)$")
  return name and (name ~= "" and exempt_recipients[name] or exempt_recipients[domain]) or false
end

local function recipients_are_exempt(envelope)
  local recipients = envelope and envelope.recipients or {}
  local any_recipient = settings.any_recipient
  for _, recipient in ipairs(recipients) do
    if recipient_is_exempt(recipient) == any_recipient then return any_recipient end
  end
  return not any_recipient and #recipients > 0
end

local function later(connection, lines)
  local code = connection.acknowledged and 456 or settings.later_code
  return { code = code, ["enhanced-code"] = "4.4.8", lines = lines, close = code == 421 }
end

local function unauthenticated(connection, envelope, results)
  local spf = spf_word(envelope, results)
  local first = "SPF=" .. spf .. ", DKIM=" .. dkim_word(results) .. ": not accepted over IPv6, retry over IPv4 now" .. see
  local last = "Client " .. connection.client .. ": over IPv6 this host takes authenticated mail only"
  return later(connection, spf == "permerror" and { first, PERMERROR, last } or { first, last })
end

local function at_greeting(connection, facts)
  local penalty, now = facts.penalty, connection.now
  local function is_recent(time) return time and now - time < CAPABILITY_LASTS end
  if not penalty or penalty.simulated and settings.mode == "enforce" or penalty.refuse_until <= now
      or penalty.refuse_until - math.min(penalty.last_failure, now) > LONGEST_PENALTY then
    return "continue", "undecided"
  end
  local has_good_standing = facts.passed >= 1.5 and facts.passed > facts.failed
  local is_incapable = not is_recent(facts.capable_at) and is_recent(facts.incapable_at)
  if has_good_standing or connection["listener-offers"] and not is_incapable then return "continue", "undecided" end
  return "refuse", "penalty", {
    code = connection.stage == "greeting" and settings.greeting_code or 421,
    ["enhanced-code"] = "4.4.8",
    lines = {
      "Not accepting mail from " .. connection.prefix .. " over IPv6, retry over IPv4 now" .. see,
      "Client " .. connection.client .. ": most recent mail of your network was not authenticated",
    },
    close = true,
  }
end

local function temporary(connection, envelope, results, facts, spf, dkim)
  local function is_left(window, most)
    local since = window and connection.now - window.since
    return (since and since >= 0 and since < DAY and window.count or 0) < most
  end
  if is_left(facts.temporary, settings.temporary_per_network) and is_left(facts.temporary_48, settings.temporary_per_48) then
    return "accept", "temporary-error"
  end
  local words = {}
  if spf == nil then words[#words + 1] = "SPF=" .. spf_word(envelope, results) end
  if dkim == nil then words[#words + 1] = "DKIM=" .. dkim_word(results) end
  local failed = #words > 0 and table.concat(words, ", ") or "authentication"
  return "refuse", "temporary-error-budget", {
    code = 451,
    ["enhanced-code"] = "4.4.3",
    lines = {
      failed .. ": cannot be checked at the moment, try again later" .. see,
      "Client " .. connection.client .. ": too many results of your network had temporary errors",
    },
    close = false,
  }
end

local function message(connection, envelope, results, facts)
  if recipients_are_exempt(envelope) then return "accept", "exempt-recipient" end
  local exempt = domain_is_exempt(envelope, results)
  if exempt then return "accept", "exempt-domain" end
  local spf, dkim = spf(envelope, results), dkim(results)
  local met = any(spf, dkim)
  if met then return "accept", "authenticated" end
  if not results or next(results) == nil then return "accept", "no-evidence" end
  if met == false and exempt == false then return "refuse", "unauthenticated", unauthenticated(connection, envelope, results) end
  return temporary(connection, envelope, results, facts, spf, dkim)
end

-- What enforce mode answers: the verdict, the reason, and the reply of a refusal.
local function rule(connection, envelope, results, facts)
  local passing = connection.stage == "end-of-data" and "accept" or "continue"
  if within(connection.client, "ipv4") then return passing, "ipv4" end
  if connection.listener ~= "mx" or connection.authenticated then return "accept", "out-of-scope" end
  if not connection["reachable-over-ipv4"] then return "accept", "not-reachable-over-ipv4" end
  if within(connection.client, "exempt") then return "accept", "exempt-network" end
  if connection.stage == "greeting" or connection.stage == "ehlo" then return at_greeting(connection, facts) end
  if passing == "continue" then return "continue", "undecided" end
  return message(connection, envelope, results, facts)
end

-- The verdict, the reason, the reply of a refusal; in observe mode also what enforce mode would have answered, whose reply it is then.
return function(connection, envelope, results, facts)
  local verdict, reason, reply = rule(connection, envelope, results, facts)
  if settings.mode == "enforce" then return verdict, reason, reply end
  return connection.stage == "end-of-data" and "accept" or "continue", reason, reply, verdict
end
