/* What the test programs share. */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smtp_fallback.h"

/* Ends the program where something is not as it has to be. */
#define CHECK(what)                                                                     \
    do {                                                                                \
        if (!(what)) {                                                                  \
            fprintf(stderr, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, __func__, #what); \
            _Exit(1);                                                                   \
        }                                                                               \
    } while (0)

/* The code, and a part of the answer, which is given back. */
#define ANSWERS(call, expected_code, part)                                              \
    do {                                                                                \
        char *answer = NULL;                                                            \
        int code = (call);                                                              \
        if (code != (expected_code) || !answer || !strstr(answer, (part))) {            \
            fprintf(stderr, "%s:%d: %s: %s: found code %d and %s, expected code %d and %s\n", __FILE__, __LINE__, __func__, \
                    #call, code, answer ? answer : "no answer", (expected_code), (part)); \
            _Exit(1);                                                                   \
        }                                                                               \
        smtp_fallback_free(answer);                                                     \
    } while (0)

/* The component, and a folder whose cache of machine code may be there. */
extern const char *component, *folder;
/* How many instances a handle has, and how many decisions each of several threads makes: valgrind is short of address space, and slow. */
extern int instances, decisions;

/* Settings with these beside component and instances, "" for none, else with a comma before. Valid until the next call on this thread. */
const char *settings(const char *more);

/* A handle with these settings. */
smtp_fallback *opened(const char *more);

/* The arguments of a decision at this stage: mail number n of a client in 2001:db8:1:2::/64, whose SPF result is as said. Valid until the
 * next call on this thread. */
const char *mail(const char *stage, int n, const char *spf);

/* The threads of this process. One that was waited for is listed for a moment longer: waits for up to 5 s until they are as many. */
int threads(int expected);

/* Reads the command line: COMPONENT FOLDER INSTANCES DECISIONS. */
void begin(int count, char **arguments);

/* Of a text that is n times the letter, in JSON. To be freed. */
char *repeated(const char *before, char letter, size_t n, const char *after);

#endif
