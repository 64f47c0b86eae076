# The policy by hand, for Rego. `input` has what the host knows of the session and remembers of its network, `data.settings` the configuration.
package smtp_fallback

settings := data.settings

# What is told, and in observe mode what enforce mode would have answered.
decision := {"verdict": ruling, "reason": reason, "reply": reply} if {
	settings.mode == "enforce"
	ruling == "refuse"
} else := {"verdict": ruling, "reason": reason} if {
	settings.mode == "enforce"
} else := {"verdict": passing, "reason": reason, "would": ruling, "reply": reply} if {
	ruling == "refuse"
} else := {"verdict": passing, "reason": reason, "would": ruling}

passing := "accept" if input.stage == "end-of-data" else := "continue"

ruling := "refuse" if {
	reason in {"unauthenticated", "penalty", "temporary-error-budget"}
} else := "continue" if {
	reason == "undecided"
} else := passing if {
	reason == "ipv4"
} else := "accept"

reason := "ipv4" if {
	is_within(settings.ipv4)
} else := "out-of-scope" if {
	input.listener != "mx"
} else := "out-of-scope" if {
	input.authenticated
} else := "not-reachable-over-ipv4" if {
	not input.reachable_over_ipv4
} else := "exempt-network" if {
	is_within(settings.exempt_networks)
} else := "penalty" if {
	input.stage in {"greeting", "ehlo"}
	penalty_is_in_force
	not has_good_standing
	not may_be_capable
} else := "undecided" if {
	input.stage != "end-of-data"
} else := "exempt-recipient" if {
	recipients_are_exempt
} else := "exempt-domain" if {
	domain_is_exempt
} else := "authenticated" if {
	is_authenticated
} else := "no-evidence" if {
	not input.results
} else := "unauthenticated" if {
	not is_open
} else := "temporary-error" if {
	counted("temporary") < settings.temporary_per_network
	counted("temporary_48") < settings.temporary_per_48
} else := "temporary-error-budget"

is_within(networks) if {
	some network in networks
	net.cidr_contains(network, input.client)
}

# No longer than any penalty may be.
penalty_is_in_force if {
	input.facts.penalty.refuse_until > input.now
	not is_ignored
	input.facts.penalty.refuse_until - min([input.facts.penalty.last_failure, input.now]) <= 25920
}

is_ignored if {
	input.facts.penalty.simulated
	settings.mode == "enforce"
}

has_good_standing if {
	input.facts.passed >= 1.5
	input.facts.passed > input.facts.failed
}

# Capability is remembered for 30 days.
may_be_capable if {
	input.listener_offers
	not is_incapable
}

is_incapable if {
	not input.now - input.facts.capable_at < 2592000
	input.now - input.facts.incapable_at < 2592000
}

recipients_are_exempt if {
	settings.any_recipient
	some recipient in input.envelope.recipients
	recipient_is_exempt(lower(recipient))
}

recipients_are_exempt if {
	not settings.any_recipient
	count(input.envelope.recipients) > 0
	every recipient in input.envelope.recipients {
		recipient_is_exempt(lower(recipient))
	}
}

recipient_is_exempt(recipient) if recipient in settings.exempt_recipients

recipient_is_exempt(recipient) if {
	parts := split(recipient, "@")
	count(parts) > 1
	concat("@", array.slice(parts, 0, count(parts) - 1)) in settings.exempt_recipients
}

recipient_is_exempt(recipient) if {
	parts := split(recipient, "@")
	concat("", ["@", parts[count(parts) - 1]]) in settings.exempt_recipients
}

# For MAIL FROM, and for the null sender for HELO, too.
spf contains input.results.spf_mail_from if input.envelope

spf contains input.results.spf_helo if input.envelope.mail_from == ""

is_authenticated if spf_passes

is_authenticated if dkim_passes

# Loops have rules of their own: behind a loop that finds nothing regorus's virtual machine does not go on to the next `else`.
spf_passes if {
	some check in spf
	check.result == "pass"
}

dkim_passes if {
	some signature in input.results.dkim
	signature.result == "pass"
	not signature.testing
}

dkim_passes_in_testing if {
	some signature in input.results.dkim
	signature.result == "pass"
}

domain_is_exempt if {
	count(settings.exempt_domains) > 0
	some domain in authenticated_domains
	is_listed(trim_suffix(lower(domain), "."))
}

authenticated_domains contains check.domain if {
	some check in spf
	check.result == "pass"
}

authenticated_domains contains signature.domain if {
	some signature in input.results.dkim
	signature.result == "pass"
	not signature.testing
}

authenticated_domains contains input.results.dmarc.domain if input.results.dmarc.result == "pass"

is_listed(domain) if domain in settings.exempt_domains

is_listed(domain) if {
	some entry in settings.exempt_domains
	startswith(entry, ".")
	endswith(domain, entry)
	domain != entry
}

# A result that decides is missing or temporary, or one that could exempt the message is.
is_open if spf_is_open

is_open if dkim_is_open

is_open if {
	count(settings.exempt_domains) > 0
	input.results.dmarc.result == "temperror"
}

spf_is_open if count(spf) == 0

spf_is_open if {
	some check in spf
	check.result == "temperror"
}

dkim_is_open if not input.results.dkim

dkim_is_open if {
	some signature in input.results.dkim
	signature.result == "temperror"
	not signature.testing
}

# So many messages within 24 hours of the first.
counted(window) := input.facts[window].count if {
	input.facts[window].since <= input.now
	input.now - input.facts[window].since < 86400
} else := 0

reply := {
	"code": code,
	"enhanced_code": "4.4.8",
	"close": code == 421,
	"lines": array.concat(
		[sprintf("SPF=%s, DKIM=%s: not accepted over IPv6, retry over IPv4 now%s", [spf_word, dkim_word, see])],
		array.concat(permerror, [sprintf("Client %s: over IPv6 this host takes authenticated mail only", [input.client])]),
	),
} if {
	reason == "unauthenticated"
} else := {
	"code": greeting_code,
	"enhanced_code": "4.4.8",
	"close": true,
	"lines": [
		sprintf("Not accepting mail from %s over IPv6, retry over IPv4 now%s", [input.prefix, see]),
		sprintf("Client %s: most recent mail of your network was not authenticated", [input.client]),
	],
} if {
	reason == "penalty"
} else := {
	"code": 451,
	"enhanced_code": "4.4.3",
	"close": false,
	"lines": [
		sprintf("%s: cannot be checked at the moment, try again later%s", [unknown, see]),
		sprintf("Client %s: too many results of your network had temporary errors", [input.client]),
	],
}

code := 456 if input.acknowledged else := settings.later_code

greeting_code := settings.greeting_code if input.stage == "greeting" else := 421

see := sprintf("; see %s", [settings.url]) if settings.url != null else := ""

permerror := ["The SPF record of the sender's domain cannot be evaluated (permerror): its administrator should correct it"] if {
	spf_word == "permerror"
} else := []

unknown := sprintf("SPF=%s, DKIM=%s", [spf_word, dkim_word]) if {
	spf_is_open
	dkim_is_open
} else := sprintf("SPF=%s", [spf_word]) if {
	spf_is_open
} else := sprintf("DKIM=%s", [dkim_word]) if {
	dkim_is_open
} else := "authentication"

# Of the two results of a null sender the better one.
spf_word := "pass" if {
	spf_passes
} else := input.results.spf_helo.result if {
	input.envelope.mail_from == ""
	input.results.spf_helo
	object.get(input.results, ["spf_mail_from", "result"], "none") == "none"
} else := input.results.spf_mail_from.result if {
	input.envelope
	input.results.spf_mail_from
} else := "unknown"

dkim_word := "unknown" if {
	not input.results.dkim
} else := "none" if {
	count(input.results.dkim) == 0
} else := "pass" if {
	dkim_passes
} else := "testing" if {
	dkim_passes_in_testing
} else := input.results.dkim[0].result
