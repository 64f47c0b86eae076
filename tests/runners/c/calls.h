/* What vectors.c needs to run one vector: the calls of its steps, with the store of a host in between. */
#ifndef CALLS_H
#define CALLS_H

#include <jansson.h>
#include <stdbool.h>

#include "face.h"

/* Texts in vectors may hold any character, and `describe` is not the only answer that is no object. */
#define READ (JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES)

/* One vector while it runs. */
typedef struct {
    face *face;
    const char *file;
    /* The records that earlier steps returned: by the text of their key, {"key": …, "value": …, "expires": …}. */
    json_t *kept;
} run;

/* What is wrong with the vectors themselves, or with memory: there is no going on. */
_Noreturn void stop(const char *file, const char *format, ...);

/* The pointer, which is not NULL. */
void *checked(void *pointer);

/* A member that has to be there. */
json_t *member(const run *run, json_t *object, const char *name);
const char *text_of(const run *run, json_t *object, const char *name);

/* Makes this policy, a text that holds JSON, the face's own; `secret` may be NULL, for that of all vectors. */
json_t *configure(const run *run, json_t *policy, json_t *secret);

/* What the function of a step answers, in the form that is compared; NULL: nothing, and why is on stderr. */
json_t *call(const run *run, const char *function, json_t *input, json_t *expect);

#endif
