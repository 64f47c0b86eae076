/* libsmtp_fallback: which mail over IPv6 is accepted, and which is asked to come back over IPv4.
 *
 * The library runs the policy component (smtp-fallback-policy.wasm), a WebAssembly component without imports, under limits on time and
 * memory. A mail server fills in what it knows of a session, asks, and sends the reply that it is told:
 *
 *     smtp_fallback *policy;
 *     char *answer;
 *     if (smtp_fallback_open("{\"component\": \"/usr/share/smtp-fallback/smtp-fallback-policy.wasm\", \"policy\": {}}",
 *                            &policy, &answer) != SMTP_FALLBACK_OK)
 *         fprintf(stderr, "%s\n", answer);
 *     smtp_fallback_free(answer);
 *
 * TEXTS are in UTF-8 and end with NUL; those that the library takes are JSON of 16 MiB at most, and are not kept. Arguments and results
 * are those of the functions in wit/policy.wit, which says what each field means. As JSON: names in kebab-case; an absent option is null or
 * missing; an enum is a string; a variant is an object with one member, or its name alone where the case carries nothing; a result is
 * {"ok": ...} or {"err": ...}; an address is a text; octets are a list of numbers.
 *
 * CODES. Each function but those that return nothing or a version returns a code of enum smtp_fallback_code. Whatever the code,
 * other than SMTP_FALLBACK_OK: let the mail pass. The policy only asks for another route, so that no failure may cost a mail.
 *
 * ANSWERS. `answer` may be NULL, for no interest in it. Else *answer is a text of JSON, which the caller gives back to smtp_fallback_free: with
 * SMTP_FALLBACK_OK the result, with another code
 *
 *     {"code": "policy", "message": "what is wrong, where, and what to do", "errors": [...]}
 *
 * where "code" is the code's name in lower case without SMTP_FALLBACK_, and "errors" is there for "policy" alone: the errors that `configure`
 * in wit/policy.wit has, each with its place; none where a policy-file could not be read. *answer is NULL only after SMTP_FALLBACK_PANIC. Where memory runs out, the process ends.
 *
 * THREADS. A handle may be used by any number of threads at once, and several handles may be open. smtp_fallback_close is the exception: no
 * call with this handle may be running, or made later. At most "instances" calls run at once; others wait, for as long as "deadline-ms".
 *
 * FORKS. No thread is left by smtp_fallback_open and smtp_fallback_reload, and a store is not connected to. So a process may open, then fork,
 * and each child use the handle as its own. The first other call with a handle binds it to the process: threads are started. A child of that
 * process, forked later, gets SMTP_FALLBACK_FORKED for this handle, at once, and may close it, which frees nothing: it then
 * opens another. A store in a file belongs to one process at a time: of several children only one could have it.
 *
 * SIGNALS. The first smtp_fallback_open sets handlers for SIGSEGV, SIGILL, SIGFPE and SIGBUS, by which faults of the component become
 * failures. They pass on what is not theirs to the handlers that were there. Set your own before, and the library stays loaded after dlclose.
 * Ignore SIGPIPE, as mail servers do: the connection to a store may end while something is written to it.
 *
 * ADDRESS SPACE. Each of "instances" reserves 4 GiB of it (no memory): see "instances" where RLIMIT_AS is set.
 */
#ifndef SMTP_FALLBACK_H
#define SMTP_FALLBACK_H

#ifdef __cplusplus
extern "C" {
#endif

/* An open policy, with the component and the records of a store. */
typedef struct smtp_fallback smtp_fallback;

enum smtp_fallback_code {
    SMTP_FALLBACK_OK = 0,
    /* An argument is NULL, no UTF-8, too long, no JSON, or not what the function takes. */
    SMTP_FALLBACK_ARGUMENT = 1,
    /* The policy has errors, or its file cannot be read. */
    SMTP_FALLBACK_POLICY = 2,
    /* The component cannot be loaded; or it failed, in a function other than smtp_fallback_keys and smtp_fallback_decide. */
    SMTP_FALLBACK_COMPONENT = 3,
    /* The store cannot be opened as it is set. A call that says so is worth another try later. */
    SMTP_FALLBACK_STORE = 4,
    /* The handle was used before the fork. */
    SMTP_FALLBACK_FORKED = 5,
    /* A fault of the library. Close the handle, and open another. */
    SMTP_FALLBACK_PANIC = 6
};

/* Opens a policy. `settings` is a JSON object; only "component" has to be there, and nothing else than these may be:
 *
 *   "component"    path of smtp-fallback-policy.wasm
 *   "policy"       the policy, as an object or as its text; its errors have line and column in it, and not in the settings
 *   "policy-file"  or the path of a file with it, which smtp_fallback_reload reads again. With neither everything passes, with the
 *                  reason "no-policy"
 *   "secret"       a text or a list of octets: keys the hashes of networks and mails; at best 16 random octets or more, the same for all that
 *                  share records. Without one that of the store; without a store none, so that no mail is recognised
 *   "store"        where the records live. Without it the caller keeps them: see smtp_fallback_decide. One of
 *                  {"memory": {"records": 1000000}}   in memory, until the handle is closed
 *                  {"file": PATH}                     in memory and in a file, of one process
 *                  {"control": PATH}                  in a running smtpd or milter, by its control socket
 *                  {"redis": {"servers": [URL], ...}} shared by hosts, in Redis or Valkey; the members are those of [store.redis]
 *   "cache"        directory of machine code that only this user can write; is made. Opening takes milliseconds then, else a second
 *   "deadline-ms"  the longest that a call of the component may take, 1 to 10000; 50 by default
 *   "memory"       octets of memory that an instance of it may have, 1048576 (1 MiB) to 1073741824; 16777216 by default
 *   "instances"    calls that run at once, 1 to 10000; 16 by default
 *   "store-ms"     how long a decision may wait for its records in all, 1 to 1000; 20 by default
 *
 * The answer is the policy's summary (`configure` in wit/policy.wit), with its warnings; null without a policy.
 *
 * *handle is NULL unless the code is SMTP_FALLBACK_OK. The policy and, as far as that leaves no thread and changes nothing, the store are
 * checked. The rest of the store is opened by the first call, which takes longer than others: 5 s or so at most, where its host or server
 * gives no answer. SMTP_FALLBACK_ARGUMENT, _POLICY, _COMPONENT, _STORE. */
int smtp_fallback_open(const char *settings, smtp_fallback **handle, char **answer);

/* Puts another policy in force, for calls that begin after this one returns. `policy_json` is the policy as a text; NULL reads policy-file
 * again. With a code other than SMTP_FALLBACK_OK the policy before stays in force. The answer is that of smtp_fallback_open.
 * SMTP_FALLBACK_ARGUMENT, _POLICY, _COMPONENT, _FORKED. */
int smtp_fallback_reload(smtp_fallback *handle, const char *policy_json, char **answer);

/* The keys whose records smtp_fallback_decide wants, a list: for a handle without a store. Call it again with the records found, until it
 * names no key that was not named before; two rounds are enough.
 *
 *   {"connection": {...}, "envelope": {...}, "message": {...}}
 *
 * Where the component fails, there are none. SMTP_FALLBACK_ARGUMENT, _STORE, _FORKED. */
int smtp_fallback_keys(smtp_fallback *handle, const char *arguments, char **answer);

/* Decides. To be called at each stage of a session, before the reply is sent.
 *
 *   {"connection": {"stage": "end-of-data", "client": "2001:db8::25", "listener": "mx", "ehlo-name": "mail.example", "tls": "none",
 *                   "authenticated": false, "listener-offers": false, "keyword-shown": false, "acknowledged": false,
 *                   "reachable-over-ipv4": true, "ipv4-arrivals-visible": false, "now": 1800000000, "nonce": 4, "records": []},
 *    "envelope": {"mail-from": "smith@example.org", "recipients": ["jones@example.net"]},
 *    "message": {"message-id": "<1@example.org>", "date": null, "from-domain": "example.org", "size": 1000},
 *    "auth-results": {"spf-mail-from": {"result": "fail", "domain": "example.org"}, "dkim": []}}
 *
 * where "now" is the time in seconds since 1970, and "nonce" is drawn at random for each connection, as every host does (wit/policy.wit),
 * gives {"verdict": "accept" | "continue" | {"refuse": {"code": 421, "enhanced-code": "4.4.8", "lines": [...], "close": true}}, "reason": ...}.
 *
 * With a store the handle looks records up and stores those of the decision: "records" is [] in the arguments (anything else is
 * SMTP_FALLBACK_ARGUMENT) and in the decision. What the store does not give in time is decided without, and logged. Without a store the caller
 * looks up what smtp_fallback_keys names, gives it as connection.records, and stores the decision's "records".
 *
 * Where the component fails, the code is SMTP_FALLBACK_OK all the same, the decision lets the mail pass, and has a member "failure" that says
 * why. SMTP_FALLBACK_ARGUMENT, _STORE, _FORKED. */
int smtp_fallback_decide(smtp_fallback *handle, const char *arguments, char **answer);

/* The decision in words, for people: a text of no fixed form. Takes the arguments of smtp_fallback_decide, and stores nothing.
 * SMTP_FALLBACK_ARGUMENT, _COMPONENT, _STORE, _FORKED. */
int smtp_fallback_explain(smtp_fallback *handle, const char *arguments, char **answer);

/* Reads an address as MTAs write it: {"text": "[IPv6:2001:db8::25]"} gives {"ok": "2001:db8::25"}, or {"err": what was expected}.
 * SMTP_FALLBACK_ARGUMENT, _COMPONENT, _FORKED. */
int smtp_fallback_parse_address(smtp_fallback *handle, const char *arguments, char **answer);

/* A record for people: {"key": {...}, "value": [...]} gives {"ok": a text that is a JSON object}, or {"err": ...} for what is no record.
 * SMTP_FALLBACK_ARGUMENT, _COMPONENT, _FORKED. */
int smtp_fallback_inspect(smtp_fallback *handle, const char *arguments, char **answer);

/* Reads Authentication-Results fields, the topmost first: {"headers": [...], "trusted-ids": [...]} gives "auth-results" for
 * smtp_fallback_decide. Pass only fields that your own border added: a client can write any id.
 * SMTP_FALLBACK_ARGUMENT, _COMPONENT, _FORKED. */
int smtp_fallback_parse_authentication_results(smtp_fallback *handle, const char *arguments, char **answer);

/* What the component is: {"contract": version, "keyword": the EHLO keyword and verb, "defaults": a text, the policy that {} stands for}.
 * SMTP_FALLBACK_ARGUMENT, _COMPONENT, _FORKED. */
int smtp_fallback_describe(smtp_fallback *handle, char **answer);

/* The JSON Schema of policies, as a text: JSON in JSON. SMTP_FALLBACK_ARGUMENT, _COMPONENT, _FORKED. */
int smtp_fallback_schema(smtp_fallback *handle, char **answer);

/* Gives an answer back. NULL is allowed. An answer may be given back by any thread, and after its handle was closed. */
void smtp_fallback_free(char *answer);

/* Closes a handle: its threads have ended when it returns, and the records of a file are on disk. Waits some seconds at most for records that
 * are still to be stored. NULL is allowed. A process that ends without it loses what a store in a file was told in the last second. */
void smtp_fallback_close(smtp_fallback *handle);

/* The library's version, such as "0.1.0": a text that is not to be given back. */
const char *smtp_fallback_version(void);

enum smtp_fallback_level {
    /* The policy failed, or a store; mail passes meanwhile. */
    SMTP_FALLBACK_LOG_ERROR = 1,
    SMTP_FALLBACK_LOG_WARNING = 2
};

/* Takes the library's log, for all handles: failures of the component, and warnings of store and cache, each as one line without its end.
 * Nothing is written anywhere else. NULL takes it no more. To be set before the first smtp_fallback_open, whose warnings are else lost.
 *
 * `log` is called by any thread, those of the library among them, several at once; it must not call the library, throw, or longjmp. After it was
 * replaced another thread may be about to call it: it and its context have to be there until all handles are closed. */
void smtp_fallback_on_log(void (*log)(void *context, int level, const char *line), void *context);

#ifdef __cplusplus
}
#endif

#endif
