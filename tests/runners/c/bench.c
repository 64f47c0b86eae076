/* How long a pair of one `keys` and one `decide` takes on a face, and how much memory it keeps.
 *
 * CASES is {"policy-json": TEXT, "secret": TEXT, "cases": [{"name": "accept", "keys": ARGUMENTS, "decide": ARGUMENTS}, …]}. Each
 * case prints its name and the mean wall time of a pair in nanoseconds, the last line is `memory` and the resident memory in KiB,
 * soon after the start (1000 pairs) and at the end.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "face.h"

/* From so many pairs on the caches are warm, and memory should not grow any more. */
#define WARM 1000
#define MOST 1000000000L

typedef struct {
    face *face;
    long pairs;
    /* VmRSS after the first WARM pairs; 0 before. */
    long memory;
} measurement;

typedef struct {
    const char *name;
    char *keys, *decide;
} bench_case;

static bool failed(const char *where, const char *what)
{
    fprintf(stderr, "error: %s: %s\n", where, what);
    return false;
}

/* Resident memory in KiB. */
static long resident(void)
{
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    long octets = 0;
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "VmRSS: %ld", &octets) == 1)
            break;
    if (status)
        fclose(status);
    return octets;
}

static double nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static bool run_pairs(measurement *measurement, const bench_case *one, long pairs)
{
    for (long pair = 0; pair < pairs; pair++)
        if (!face_call(measurement->face, "keys", one->keys) || !face_call(measurement->face, "decide", one->decide))
            return failed(one->name, "no answer");
    measurement->pairs += pairs;
    if (!measurement->memory && measurement->pairs >= WARM)
        measurement->memory = resident();
    return true;
}

/* A case that is decided otherwise than it says would measure something else. */
static bool verdict_is_right(face *face, const bench_case *one)
{
    const char *answer = face_call(face, "decide", one->decide);
    json_t *decision = answer ? json_loads(answer, JSON_ALLOW_NUL, NULL) : NULL;
    json_t *verdict = json_object_get(decision, "verdict");
    const char *word = json_string_value(verdict);
    bool accepts = word && strcmp(word, "accept") == 0, refuses = json_object_get(verdict, "refuse") != NULL;
    bool right = strcmp(one->name, "accept") == 0 ? accepts : refuses;
    if (!right)
        fprintf(stderr, "error: %s: another verdict than the name says: %s\n", one->name, answer ? answer : "no answer");
    json_decref(decision);
    return right;
}

static bool measure(measurement *measurement, const bench_case *one, long count)
{
    if (!verdict_is_right(measurement->face, one) || !run_pairs(measurement, one, count / 10 < WARM ? count / 10 : WARM))
        return false;
    double start = nanoseconds();
    if (!run_pairs(measurement, one, count))
        return false;
    printf("%s %.0f\n", one->name, (nanoseconds() - start) / (double)count);
    return true;
}

static bool configure(face *face, json_t *file)
{
    json_t *arguments = json_pack("{s:O, s:O}", "policy-json", json_object_get(file, "policy-json"), "secret",
                                  json_object_get(file, "secret"));
    char *text = arguments ? json_dumps(arguments, JSON_COMPACT) : NULL;
    json_decref(arguments);
    const char *answer = text ? face_call(face, "configure", text) : NULL;
    bool configured = answer && strncmp(answer, "{\"ok\"", 5) == 0;
    free(text);
    return configured || failed("policy-json", answer ? answer : "missing, or no answer");
}

static bool measure_all(face *face, json_t *file, long count)
{
    measurement measurement = {face, 0, 0};
    bool good = configure(face, file);
    size_t index;
    json_t *each;
    json_array_foreach(json_object_get(file, "cases"), index, each) {
        bench_case one = {json_string_value(json_object_get(each, "name")),
                          json_dumps(json_object_get(each, "keys"), JSON_COMPACT),
                          json_dumps(json_object_get(each, "decide"), JSON_COMPACT)};
        bool whole = one.name && one.keys && one.decide;
        if (good)
            good = whole ? measure(&measurement, &one, count) : failed("cases", "a case needs name, keys and decide");
        free(one.keys);
        free(one.decide);
    }
    long end = resident();
    if (good)
        printf("memory %ld %ld\n", measurement.memory ? measurement.memory : end, end);
    return good;
}

int bench(const char *path, const char *cases, const char *text)
{
    char *rest;
    errno = 0;
    long count = strtol(text, &rest, 10);
    if (errno || *rest || count < 1 || count > MOST) {
        failed(text, "no number of pairs, expected 1 to 1000000000");
        return 2;
    }
    json_error_t error;
    json_t *file = json_load_file(cases, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
    if (!file) {
        fprintf(stderr, "error: %s: line %d, column %d: %s\n", cases, error.line, error.column, error.text);
        return 2;
    }
    face *face = face_open(path);
    bool good = face && measure_all(face, file, count);
    face_close(face);
    json_decref(file);
    return good ? 0 : 1;
}
