/* The face of the C library. Its path is that of a file with settings (smtp_fallback_open) that name no policy and no secret. */
#include <jansson.h>
#include <smtp_fallback.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "face.h"

struct face {
    smtp_fallback *handle;
    json_t *settings;
    /* The last answer: the library's, or one that was made here. */
    char *answer, *made;
};

static void forget(face *face)
{
    smtp_fallback_free(face->answer);
    free(face->made);
    face->answer = face->made = NULL;
}

/* A handle with these settings in the place of the one before, which stays where they have errors. */
static int open_anew(face *face, json_t *settings)
{
    char *text = json_dumps(settings, 0);
    smtp_fallback *handle = NULL;
    int code = smtp_fallback_open(text, &handle, &face->answer);
    free(text);
    if (handle) {
        smtp_fallback_close(face->handle);
        face->handle = handle;
    }
    return code;
}

face *face_open(const char *path)
{
    face *face = calloc(1, sizeof *face);
    json_error_t error;
    if (!face || !(face->settings = json_load_file(path, 0, &error))) {
        fprintf(stderr, "%s: %s\n", path, face ? error.text : "no memory");
        face_close(face);
        return NULL;
    }
    if (open_anew(face, face->settings) != SMTP_FALLBACK_OK) {
        fprintf(stderr, "%s: %s\n", path, face->answer);
        face_close(face);
        return NULL;
    }
    return face;
}

void face_close(face *face)
{
    if (!face)
        return;
    forget(face);
    smtp_fallback_close(face->handle);
    json_decref(face->settings);
    free(face);
}

/* The summary or the errors, as the contract's function has them. */
static const char *configured(face *face, int code)
{
    json_t *answer = face->answer ? json_loads(face->answer, JSON_DECODE_ANY, NULL) : NULL, *result = NULL;
    if (code == SMTP_FALLBACK_OK)
        result = json_pack("{sO}", "ok", answer);
    else if (code == SMTP_FALLBACK_POLICY)
        result = json_pack("{sO}", "err", json_object_get(answer, "errors"));
    else
        fprintf(stderr, "configure: %s\n", face->answer);
    face->made = result ? json_dumps(result, 0) : NULL;
    json_decref(result);
    json_decref(answer);
    return face->made;
}

/* The library has no function of this name: a policy comes with the settings. */
static const char *configure(face *face, const char *arguments)
{
    json_error_t error;
    json_t *input = json_loads(arguments, 0, &error), *settings = json_copy(face->settings);
    if (!input)
        fprintf(stderr, "configure: %s\n", error.text);
    json_object_set(settings, "policy", json_object_get(input, "policy-json"));
    json_object_set(settings, "secret", json_object_get(input, "secret"));
    int code = input ? open_anew(face, settings) : SMTP_FALLBACK_ARGUMENT;
    json_decref(settings);
    json_decref(input);
    return code == SMTP_FALLBACK_ARGUMENT && !face->answer ? NULL : configured(face, code);
}

const char *face_call(face *face, const char *function, const char *arguments)
{
    typedef int with_arguments(smtp_fallback *, const char *, char **);
    static const struct {
        const char *name;
        with_arguments *call;
    } functions[] = {
        {"decide", smtp_fallback_decide},
        {"keys", smtp_fallback_keys},
        {"explain", smtp_fallback_explain},
        {"parse-address", smtp_fallback_parse_address},
        {"inspect", smtp_fallback_inspect},
        {"parse-authentication-results", smtp_fallback_parse_authentication_results},
    };
    forget(face);
    if (strcmp(function, "configure") == 0)
        return configure(face, arguments);
    int code = SMTP_FALLBACK_ARGUMENT;
    if (strcmp(function, "describe") == 0)
        code = smtp_fallback_describe(face->handle, &face->answer);
    else if (strcmp(function, "schema") == 0)
        code = smtp_fallback_schema(face->handle, &face->answer);
    else
        for (size_t each = 0; each < sizeof functions / sizeof functions[0]; each++)
            if (strcmp(function, functions[each].name) == 0)
                code = functions[each].call(face->handle, arguments, &face->answer);
    if (code == SMTP_FALLBACK_OK && !strstr(face->answer, "\"failure\":"))
        return face->answer;
    fprintf(stderr, "%s: code %d: %s\n", function, code, face->answer ? face->answer : "no answer");
    return NULL;
}
