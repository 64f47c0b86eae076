#define _POSIX_C_SOURCE 200809L

#include "check.h"

#include <dirent.h>
#include <time.h>

const char *component, *folder;
int instances, decisions;

void begin(int count, char **arguments)
{
    if (count != 5) {
        fprintf(stderr, "usage: %s COMPONENT FOLDER INSTANCES DECISIONS\n", arguments[0]);
        exit(2);
    }
    component = arguments[1];
    folder = arguments[2];
    instances = atoi(arguments[3]);
    decisions = atoi(arguments[4]);
    CHECK(instances > 0 && decisions > 0);
}

const char *settings(const char *more)
{
    static _Thread_local char text[4096];
    /* Valgrind makes everything slow: the time limit of a call is not what is tested. */
    int length = snprintf(text, sizeof text, "{\"component\": \"%s\", \"cache\": \"%s/cache\", \"deadline-ms\": 10000, \"instances\": %d%s}",
                          component, folder, instances, more);
    CHECK(length > 0 && (size_t)length < sizeof text);
    return text;
}

smtp_fallback *opened(const char *more)
{
    smtp_fallback *handle = NULL;
    char *answer = NULL;
    int code = smtp_fallback_open(settings(more), &handle, &answer);
    if (code != SMTP_FALLBACK_OK)
        fprintf(stderr, "%s\n", answer);
    CHECK(code == SMTP_FALLBACK_OK && handle);
    smtp_fallback_free(answer);
    return handle;
}

const char *mail(const char *stage, int n, const char *spf)
{
    static _Thread_local char text[2048];
    bool whole = strcmp(stage, "end-of-data") == 0;
    int length = snprintf(
        text, sizeof text,
        "{\"connection\": {\"stage\": \"%s\", \"client\": \"2001:db8:1:2::25\", \"listener\": \"mx\", \"ehlo-name\": \"mail.example\","
        " \"tls\": \"none\", \"authenticated\": false, \"listener-offers\": false, \"keyword-shown\": false, \"acknowledged\": false,"
        " \"reachable-over-ipv4\": true, \"ipv4-arrivals-visible\": false, \"now\": 1800000000, \"nonce\": 1, \"records\": []}",
        stage);
    CHECK(length > 0 && (size_t)length < sizeof text);
    int more = snprintf(
        text + length, sizeof text - (size_t)length,
        whole ? ", \"envelope\": {\"mail-from\": \"smith@example.org\", \"recipients\": [\"jones@example.net\"]},"
                " \"message\": {\"message-id\": \"<%d@example.org>\", \"from-domain\": \"example.org\", \"size\": 1000},"
                " \"auth-results\": {\"spf-mail-from\": {\"result\": \"%s\", \"domain\": \"example.org\"}, \"dkim\": []}}"
              : "}",
        n, spf);
    CHECK(more > 0 && (size_t)(length + more) < sizeof text);
    return text;
}

static int listed(void)
{
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks);
    int found = 0;
    for (struct dirent *task; (task = readdir(tasks));)
        found += task->d_name[0] != '.';
    closedir(tasks);
    return found;
}

int threads(int expected)
{
    for (int tries = 0; tries < 500 && listed() != expected; tries++)
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    return listed();
}

char *repeated(const char *before, char letter, size_t n, const char *after)
{
    size_t start = strlen(before);
    char *text = malloc(start + n + strlen(after) + 1);
    CHECK(text);
    memcpy(text, before, start);
    memset(text + start, letter, n);
    strcpy(text + start + n, after);
    return text;
}
