/* The calls of a vector's steps: arguments chosen, records kept and looked up as a host does, answers in the form that is
 * compared. */
#include "calls.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The secret of vectors that name none. */
#define SECRET "0123456789abcdef"

_Noreturn void stop(const char *file, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    fprintf(stderr, "error: %s: ", file);
    vfprintf(stderr, format, values);
    fprintf(stderr, "\n");
    va_end(values);
    exit(2);
}

void *checked(void *pointer)
{
    if (!pointer)
        stop("vectors", "no memory left, or a value that has no JSON form");
    return pointer;
}

json_t *member(const run *run, json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);
    if (!value)
        stop(run->file, "no member \"%s\", expected as in tests/vectors/README.md", name);
    return value;
}

const char *text_of(const run *run, json_t *object, const char *name)
{
    const char *text = json_string_value(member(run, object, name));
    if (!text)
        stop(run->file, "\"%s\" is no text", name);
    return text;
}

/* ---- Calls ---- */

/* Makes the call; takes the arguments over. NULL: there was no answer, or it is no JSON; why is on stderr. */
static json_t *ask(const run *run, const char *function, json_t *arguments)
{
    char *text = checked(json_dumps(checked(arguments), JSON_COMPACT));
    json_decref(arguments);
    const char *answer = face_call(run->face, function, text);
    free(text);
    if (!answer)
        return NULL;
    json_error_t error;
    json_t *value = json_loads(answer, READ, &error);
    if (!value)
        fprintf(stderr, "%s: the answer of %s is no JSON: %s at column %d: %s\n", run->file, function, error.text, error.column,
                answer);
    return value;
}

json_t *configure(const run *run, json_t *policy, json_t *secret)
{
    secret = json_is_string(secret) ? json_incref(secret) : json_string(SECRET);
    return ask(run, "configure", json_pack("{s:O, s:o}", "policy-json", policy, "secret", secret));
}

/* The arguments of a function: those members of the input that are its own. */
static json_t *chosen(json_t *input, const char *const names[])
{
    json_t *arguments = checked(json_object());
    for (; *names; names++) {
        json_t *value = json_object_get(input, *names);
        if (value)
            json_object_set(arguments, *names, value);
    }
    return arguments;
}

static const char *const CASE[] = {"connection", "envelope", "message", "auth-results", NULL};
static const char *const FIELDS[] = {"headers", "trusted-ids", NULL};
static const char *const TEXT[] = {"text", NULL};

/* ---- The store of a host ---- */

/* The name of a record in the store: its key as text. */
static char *name_of(json_t *key)
{
    return checked(json_dumps(key, JSON_COMPACT | JSON_SORT_KEYS));
}

static bool is_given(json_t *records, json_t *key)
{
    size_t index;
    json_t *record;
    json_array_foreach(records, index, record)
        if (json_equal(json_object_get(record, "key"), key))
            return true;
    return false;
}

/* Adds what is kept under this key and has not expired. */
static void add_kept(const run *run, json_t *connection, json_t *key)
{
    char *name = name_of(key);
    json_t *kept = json_object_get(run->kept, name);
    free(name);
    json_int_t now = json_integer_value(member(run, connection, "now"));
    if (!kept || json_integer_value(json_object_get(kept, "expires")) <= now)
        return;
    json_t *records = json_object_get(connection, "records");
    if (!is_given(records, key))
        json_array_append_new(records, checked(json_pack("{s:O, s:O}", "key", key, "value", json_object_get(kept, "value"))));
}

/* One round: hands over what the module asks for and has not asked for before. -1: no answer; else how many keys were new. */
static int look_up_once(const run *run, json_t *input, json_t *asked)
{
    json_t *keys = ask(run, "keys", chosen(input, CASE));
    if (!keys)
        return -1;
    int new = 0;
    size_t index;
    json_t *key;
    json_array_foreach(keys, index, key) {
        char *name = name_of(key);
        if (!json_object_get(asked, name)) {
            json_object_set_new(asked, name, json_true());
            add_kept(run, member(run, input, "connection"), key);
            new++;
        }
        free(name);
    }
    json_decref(keys);
    return new;
}

/* What a host does before it asks: two rounds are enough. */
static bool look_up(const run *run, json_t *input)
{
    json_t *connection = member(run, input, "connection");
    if (!json_object_get(connection, "records"))
        json_object_set_new(connection, "records", json_array());
    json_t *asked = checked(json_object());
    int new = 1;
    for (int round = 0; round < 2 && new > 0; round++)
        new = look_up_once(run, input, asked);
    json_decref(asked);
    return new >= 0;
}

static void store(const run *run, json_t *decision, json_t *connection)
{
    json_int_t now = json_integer_value(member(run, connection, "now"));
    size_t index;
    json_t *record;
    json_array_foreach(json_object_get(decision, "records"), index, record) {
        json_t *key = member(run, record, "key");
        json_int_t expires = now + json_integer_value(member(run, record, "expires-in"));
        json_t *value = member(run, record, "value");
        char *name = name_of(key);
        json_object_set_new(run->kept, name, checked(json_pack("{s:O, s:O, s:I}", "key", key, "value", value, "expires", expires)));
        free(name);
    }
}

/* The key of the one record of this kind. */
static json_t *only(const run *run, const char *kind)
{
    json_t *found = NULL;
    const char *name;
    json_t *kept;
    json_object_foreach(run->kept, name, kept) {
        json_t *key = json_object_get(kept, "key");
        if (strcmp(text_of(run, key, "kind"), kind) != 0)
            continue;
        if (found)
            stop(run->file, "more than one record of kind %s", kind);
        found = key;
    }
    if (!found)
        stop(run->file, "no record of kind %s", kind);
    return found;
}

/* ---- Steps ---- */

/* Puts the value of JSON text in place of the text: texts are compared as what they say. */
static void read_text(const run *run, json_t *object, const char *name)
{
    json_t *text = json_object_get(object, name);
    json_error_t error;
    json_t *value = json_loadb(json_string_value(text), json_string_length(text), READ, &error);
    if (!value)
        stop(run->file, "\"%s\" of the answer holds no JSON: %s", name, error.text);
    json_object_set_new(object, name, value);
}

/* A record is compared by its key alone, that of a mail by its kind. */
static void shorten_records(json_t *decision)
{
    json_t *keys = checked(json_array()), *record;
    size_t index;
    json_array_foreach(json_object_get(decision, "records"), index, record) {
        json_t *key = json_object_get(record, "key"), *kind = json_object_get(key, "kind");
        const char *word = json_string_value(kind);
        bool is_mail = word && (strcmp(word, "exact") == 0 || strcmp(word, "inferred") == 0);
        json_array_append_new(keys, is_mail ? json_pack("{s:O}", "kind", kind) : json_incref(key));
    }
    json_object_set_new(decision, "records", keys);
}

static json_t *decide(const run *run, json_t *input)
{
    if (!look_up(run, input))
        return NULL;
    json_t *decision = ask(run, "decide", chosen(input, CASE));
    if (decision) {
        store(run, decision, member(run, input, "connection"));
        shorten_records(decision);
    }
    return decision;
}

/* Those of the wanted texts that are told. */
static json_t *explain(const run *run, json_t *input, json_t *wanted)
{
    json_t *told = look_up(run, input) ? ask(run, "explain", chosen(input, CASE)) : NULL;
    if (!told)
        return NULL;
    json_t *found = checked(json_array()), *text;
    size_t index;
    json_array_foreach(wanted, index, text)
        if (json_is_string(told) && json_is_string(text) && strstr(json_string_value(told), json_string_value(text)))
            json_array_append(found, text);
    json_decref(told);
    return found;
}

static json_t *inspect(const run *run, json_t *input)
{
    json_t *key = json_object_get(input, "kind") ? only(run, text_of(run, input, "kind")) : member(run, input, "key");
    json_t *value = json_object_get(input, "value");
    if (!value) {
        char *name = name_of(key);
        value = json_object_get(json_object_get(run->kept, name), "value");
        if (!value)
            stop(run->file, "no earlier step made the record %s", name);
        free(name);
    }
    json_t *result = ask(run, "inspect", json_pack("{s:O, s:O}", "key", key, "value", value));
    if (json_object_get(result, "ok"))
        read_text(run, result, "ok");
    return result;
}

json_t *call(const run *run, const char *function, json_t *input, json_t *expect)
{
    if (strcmp(function, "configure") == 0)
        return configure(run, member(run, input, "policy-json"), json_object_get(input, "secret"));
    if (strcmp(function, "describe") == 0) {
        json_t *description = ask(run, function, json_object());
        if (description)
            read_text(run, description, "defaults");
        return description;
    }
    if (strcmp(function, "keys") == 0)
        return ask(run, function, chosen(input, CASE));
    if (strcmp(function, "decide") == 0)
        return decide(run, input);
    if (strcmp(function, "explain") == 0)
        return explain(run, input, expect);
    if (strcmp(function, "parse-address") == 0)
        return ask(run, function, chosen(input, TEXT));
    if (strcmp(function, "inspect") == 0)
        return inspect(run, input);
    if (strcmp(function, "parse-authentication-results") == 0)
        return ask(run, function, chosen(input, FIELDS));
    stop(run->file, "no function \"%s\", expected one of those in tests/vectors/README.md", function);
}
