/* What the header says of threads and forks. */
#define _POSIX_C_SOURCE 200809L

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

/* Runs it in a child, which must not hang. */
static void in_child(void (*test)(smtp_fallback *), smtp_fallback *handle)
{
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(60);
        test(handle);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

#define DECIDES(handle)                                                                                                     \
    do {                                                                                                                    \
        ANSWERS(smtp_fallback_decide((handle), mail("end-of-data", 1, "fail"), &answer), SMTP_FALLBACK_OK, "{\"verdict\":{\"refuse\""); \
        ANSWERS(smtp_fallback_decide((handle), mail("end-of-data", 2, "pass"), &answer), SMTP_FALLBACK_OK, "{\"verdict\":\"accept\"");   \
    } while (0)

/* The handle was opened before the fork, and not used. */
static void use(smtp_fallback *handle)
{
    CHECK(threads(1) == 1);
    ANSWERS(smtp_fallback_reload(handle, "{\"url\": \"https://a.example\"}", &answer), SMTP_FALLBACK_OK, "enforce");
    CHECK(threads(1) == 1);
    DECIDES(handle);
    smtp_fallback_close(handle);
    CHECK(threads(1) == 1);
}

static void only_close(smtp_fallback *handle)
{
    smtp_fallback_close(handle);
}

/* It was used. */
static void be_refused(smtp_fallback *handle)
{
    const char *const arguments = mail("end-of-data", 1, "fail"), *const forked = "{\"code\":\"forked\"";
    ANSWERS(smtp_fallback_keys(handle, arguments, &answer), SMTP_FALLBACK_FORKED, forked);
    ANSWERS(smtp_fallback_decide(handle, arguments, &answer), SMTP_FALLBACK_FORKED, forked);
    ANSWERS(smtp_fallback_explain(handle, arguments, &answer), SMTP_FALLBACK_FORKED, forked);
    ANSWERS(smtp_fallback_parse_address(handle, arguments, &answer), SMTP_FALLBACK_FORKED, forked);
    ANSWERS(smtp_fallback_inspect(handle, arguments, &answer), SMTP_FALLBACK_FORKED, forked);
    ANSWERS(smtp_fallback_parse_authentication_results(handle, arguments, &answer), SMTP_FALLBACK_FORKED, forked);
    ANSWERS(smtp_fallback_describe(handle, &answer), SMTP_FALLBACK_FORKED, forked);
    ANSWERS(smtp_fallback_schema(handle, &answer), SMTP_FALLBACK_FORKED, forked);
    ANSWERS(smtp_fallback_reload(handle, "{}", &answer), SMTP_FALLBACK_FORKED, forked);
    ANSWERS(smtp_fallback_reload(handle, NULL, &answer), SMTP_FALLBACK_FORKED, forked);
    smtp_fallback_close(handle);
    smtp_fallback *another = opened(", \"policy\": {}");
    DECIDES(another);
    smtp_fallback_close(another);
    /* What the threads of the process before the fork had is lost here, by their nature: not for a search for leaks to find. */
    fflush(NULL);
    execl("/bin/true", "true", (char *)NULL);
    CHECK(!"/bin/true can be started");
}

static void forks(const char *more, int threads_in_use)
{
    smtp_fallback *handle = opened(more);
    CHECK(threads(1) == 1);
    in_child(use, handle);
    in_child(only_close, handle);
    DECIDES(handle);
    CHECK(threads(threads_in_use) == threads_in_use);
    in_child(be_refused, handle);
    /* The children did nothing to it. */
    DECIDES(handle);
    smtp_fallback_close(handle);
    CHECK(threads(1) == 1);
}

/* A file belongs to whoever used it first. */
static void two_children_and_a_file(void)
{
    char more[2048];
    snprintf(more, sizeof more, ", \"policy\": {}, \"store\": {\"file\": \"%s/forked.records\"}", folder);
    forks(more, 4);
}

int main(int count, char **arguments)
{
    begin(count, arguments);
    /* Each handle's: one that watches the time limit; with a store one for what goes on beside calls; for a file one that writes. */
    forks(", \"policy\": {}", 2);
    forks(", \"policy\": {}, \"store\": {\"memory\": {}}", 3);
    two_children_and_a_file();
    puts("fork: all as it has to be");
    return 0;
}
