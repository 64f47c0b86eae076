/* Runs all vectors (tests/vectors/README.md states their form) on a face of the module.
 *
 *   PROGRAM PATH FOLDER             runs the vectors below FOLDER; the exit status is 1 if one fails, 2 if one cannot be read
 *   PROGRAM PATH bench CASES COUNT  measures, see bench.c
 */
#define _POSIX_C_SOURCE 200809L

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "calls.h"

/* The input of a step over that of its vector: record by record, field by field. */
static json_t *merged(json_t *given, json_t *input)
{
    json_t *merged = checked(json_is_object(given) ? json_deep_copy(given) : json_object());
    const char *name;
    json_t *value;
    json_object_foreach(input, name, value) {
        json_t *record = json_object_get(merged, name);
        if (json_is_object(record) && json_is_object(value))
            /* A copy: records are added to the input, and the step may be made again. */
            json_object_update_new(record, checked(json_deep_copy(value)));
        else
            json_object_set_new(merged, name, checked(json_deep_copy(value)));
    }
    return merged;
}

/* Puts the number of the call for {n} in the Message-ID, so that each call is about another mail. */
static void number_message(json_t *input, long number)
{
    json_t *message = json_object_get(input, "message");
    const char *text = json_string_value(json_object_get(message, "message-id"));
    const char *place = text ? strstr(text, "{n}") : NULL;
    if (!place)
        return;
    json_t *numbered = json_sprintf("%.*s%ld%s", (int)(place - text), text, number, place + 3);
    json_object_set_new(message, "message-id", checked(numbered));
}

/* Absent is null or missing. */
static void drop_nulls(json_t *value)
{
    size_t index;
    const char *name;
    json_t *item;
    void *next;
    json_array_foreach(value, index, item)
        drop_nulls(item);
    json_object_foreach_safe(value, next, name, item) {
        if (json_is_null(item))
            json_object_del(value, name);
        else
            drop_nulls(item);
    }
}

static void print(const char *what, json_t *value)
{
    char *text = value ? checked(json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY)) : NULL;
    printf("  %-8s %s\n", what, text ? text : "no answer");
    free(text);
}

/* Makes one call of a step and compares; takes the input over. */
static bool holds(const run *run, size_t step, const char *function, json_t *input, json_t *expect)
{
    json_t *found = call(run, function, input, expect);
    json_decref(input);
    drop_nulls(found);
    bool same = found && json_equal(found, expect);
    if (!same) {
        printf("%s, step %zu:\n", run->file, step + 1);
        print("found", found);
        print("expected", expect);
    }
    json_decref(found);
    return same;
}

/* All steps, up to the first that fails. */
static bool all_steps(const run *run, json_t *vector)
{
    long calls = 0;
    size_t index;
    json_t *step;
    json_array_foreach(member(run, vector, "steps"), index, step) {
        json_t *times = json_object_get(step, "times"), *expect = member(run, step, "expect");
        drop_nulls(expect);
        for (json_int_t time = times ? json_integer_value(times) : 1; time > 0; time--) {
            json_t *input = merged(json_object_get(vector, "given"), json_object_get(step, "input"));
            number_message(input, ++calls);
            if (!holds(run, index, text_of(run, step, "call"), input, expect))
                return false;
        }
    }
    return true;
}

/* The policy of the vector, which has to be one. */
static bool begin(const run *run, json_t *vector)
{
    json_t *policy = json_object_get(vector, "policy");
    if (!policy)
        return true;
    /* 0.9 is to be written as such: with jansson's 17 digits it is another number. */
    char *text = checked(json_dumps(policy, JSON_COMPACT | JSON_REAL_PRECISION(15)));
    json_t *value = checked(json_string(text));
    free(text);
    json_t *configured = configure(run, value, json_object_get(vector, "secret"));
    json_decref(value);
    bool good = json_object_get(configured, "ok") != NULL;
    if (!good) {
        printf("%s, its policy:\n", run->file);
        print("found", configured);
    }
    json_decref(configured);
    return good;
}

static bool vector_holds(const char *path, const char *file)
{
    json_error_t error;
    json_t *vector = json_load_file(file, READ, &error);
    if (!vector)
        stop(file, "line %d, column %d: %s", error.line, error.column, error.text);
    run run = {face_open(path), file, checked(json_object())};
    bool held = run.face && begin(&run, vector) && all_steps(&run, vector);
    if (!run.face)
        printf("%s: there is no face\n", file);
    face_close(run.face);
    json_decref(run.kept);
    json_decref(vector);
    return held;
}

/* ---- The folder ---- */

typedef struct {
    unsigned passed, failed;
} tally;

static void walk(const char *path, const char *folder, tally *tally)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort);
    if (count < 0)
        stop(folder, "the folder cannot be read");
    for (int index = 0; index < count; index++) {
        const char *name = entries[index]->d_name, *dot = strrchr(name, '.');
        size_t octets = strlen(folder) + strlen(name) + 2;
        char *file = checked(malloc(octets));
        snprintf(file, octets, "%s/%s", folder, name);
        struct stat status;
        if (name[0] != '.' && stat(file, &status) == 0) {
            if (S_ISDIR(status.st_mode))
                walk(path, file, tally);
            else if (dot && strcmp(dot, ".json") == 0)
                *(vector_holds(path, file) ? &tally->passed : &tally->failed) += 1;
        }
        free(file);
        free(entries[index]);
    }
    free(entries);
}

int main(int count, char **arguments)
{
    if (count == 5 && strcmp(arguments[2], "bench") == 0)
        return bench(arguments[1], arguments[3], arguments[4]);
    if (count != 3) {
        fprintf(stderr, "usage: %s PATH FOLDER\n       %s PATH bench CASES COUNT\n", arguments[0], arguments[0]);
        return 2;
    }
    tally tally = {0, 0};
    walk(arguments[1], arguments[2], &tally);
    if (tally.passed + tally.failed == 0)
        stop(arguments[2], "no vector in this folder");
    printf("%u passed, %u failed\n", tally.passed, tally.failed);
    return tally.failed > 0;
}
