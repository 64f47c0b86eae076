/* What the header says of answers, codes, policies and the log. */
#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "check.h"

/* ---- The log ---- */

static atomic_int errors, warnings;
static char last_line[4096];
static pthread_mutex_t last_lock = PTHREAD_MUTEX_INITIALIZER;

static void note(void *context, int level, const char *line)
{
    CHECK(context == &errors && (level == SMTP_FALLBACK_LOG_ERROR || level == SMTP_FALLBACK_LOG_WARNING));
    CHECK(!strchr(line, '\n'));
    pthread_mutex_lock(&last_lock);
    atomic_fetch_add(level == SMTP_FALLBACK_LOG_ERROR ? &errors : &warnings, 1);
    snprintf(last_line, sizeof last_line, "%s", line);
    pthread_mutex_unlock(&last_lock);
}

static bool logged(int level, const char *part)
{
    pthread_mutex_lock(&last_lock);
    bool found = atomic_exchange(level == SMTP_FALLBACK_LOG_ERROR ? &errors : &warnings, 0) > 0 && strstr(last_line, part);
    if (!found)
        fprintf(stderr, "the last line was: %s\n", last_line);
    pthread_mutex_unlock(&last_lock);
    return found;
}

/* ---- Opening ---- */

static void opening(void)
{
    smtp_fallback *handle = (smtp_fallback *)1;
    ANSWERS(smtp_fallback_open(settings(", \"policy\": {}, \"secret\": \"0123456789abcdef\""), &handle, &answer), SMTP_FALLBACK_OK,
            "{\"mode\":\"enforce\",\"checks\":[\"spf\",\"dkim\"],\"warnings\":[{\"pointer\":\"/url\",");
    CHECK(handle);
    smtp_fallback_close(handle);
    ANSWERS(smtp_fallback_open(settings(", \"policy\": \"{}\""), &handle, &answer), SMTP_FALLBACK_OK, "secret");
    smtp_fallback_close(handle);
    ANSWERS(smtp_fallback_open(settings(""), &handle, &answer), SMTP_FALLBACK_OK, "null");
    smtp_fallback_close(handle);
    smtp_fallback_close(NULL);
}

#define REFUSES(text, expected_code, part)                                              \
    do {                                                                                \
        smtp_fallback *handle = (smtp_fallback *)1;                                     \
        ANSWERS(smtp_fallback_open((text), &handle, &answer), (expected_code), (part)); \
        CHECK(!handle);                                                                 \
    } while (0)

static void refused_settings(void)
{
    char *answer = (char *)1;
    CHECK(smtp_fallback_open(settings(""), NULL, &answer) == SMTP_FALLBACK_ARGUMENT);
    CHECK(strcmp(answer, "{\"code\":\"argument\",\"message\":\"handle is NULL\"}") == 0);
    smtp_fallback_free(answer);
    REFUSES(NULL, SMTP_FALLBACK_ARGUMENT, "settings is NULL");
    REFUSES("", SMTP_FALLBACK_ARGUMENT, "EOF while parsing a value at line 1 column 0");
    REFUSES("{\"component\": \"\xff\"}", SMTP_FALLBACK_ARGUMENT, "settings: the octet at offset 15 is no UTF-8");
    REFUSES(settings(", \"polcy\": {}"), SMTP_FALLBACK_ARGUMENT, "unknown field `polcy`");
    REFUSES(settings(", \"policy\": {\"mode\": 1, \"mode\": 2}"), SMTP_FALLBACK_POLICY, "\"errors\":[{\"pointer\":\"/mode\",\"line\":1,");
    REFUSES(settings(", \"policy-file\": \"/nonexistent\""), SMTP_FALLBACK_POLICY, "the policy /nonexistent cannot be read");
    REFUSES(settings(", \"policy-file\": \"/dev/zero\""), SMTP_FALLBACK_POLICY, "it is not a file");
    REFUSES("{\"component\": \"/nonexistent\"}", SMTP_FALLBACK_COMPONENT, "\"code\":\"component\",\"message\":\"the component /nonexistent: ");
    REFUSES("{\"component\": \"/dev/null\", \"instances\": 1}", SMTP_FALLBACK_COMPONENT, "the component /dev/null: not a component");
    REFUSES(settings(", \"store\": {\"file\": \"/nonexistent/records\"}"), SMTP_FALLBACK_STORE, "there is no folder");
    REFUSES(settings(", \"store\": {\"control\": \"/dev/null\"}"), SMTP_FALLBACK_STORE, "/dev/null: it is no socket");
    REFUSES(settings(", \"store\": {\"redis\": {\"servers\": []}}"), SMTP_FALLBACK_STORE, "servers: found none");
    /* Without interest in the answer. */
    smtp_fallback *handle;
    CHECK(smtp_fallback_open("{}", &handle, NULL) == SMTP_FALLBACK_ARGUMENT);
}

/* ---- Calls ---- */

static void each_function_answers(void)
{
    smtp_fallback *handle = opened(", \"policy\": {}, \"secret\": [1, 2, 3]");
    ANSWERS(smtp_fallback_keys(handle, mail("end-of-data", 1, "fail"), &answer), SMTP_FALLBACK_OK, "[{\"kind\":\"network\"");
    ANSWERS(smtp_fallback_decide(handle, mail("end-of-data", 1, "fail"), &answer), SMTP_FALLBACK_OK,
            "{\"verdict\":{\"refuse\":{\"code\":421,\"enhanced-code\":\"4.4.8\",\"lines\":[\"SPF=fail, DKIM=none: not accepted");
    ANSWERS(smtp_fallback_decide(handle, mail("end-of-data", 1, "pass"), &answer), SMTP_FALLBACK_OK, "{\"verdict\":\"accept\"");
    ANSWERS(smtp_fallback_explain(handle, mail("end-of-data", 1, "fail"), &answer), SMTP_FALLBACK_OK, "SPF");
    ANSWERS(smtp_fallback_parse_address(handle, "{\"text\": \"[IPv6:2001:DB8::1]\"}", &answer), SMTP_FALLBACK_OK, "{\"ok\":\"2001:db8::1\"}");
    ANSWERS(smtp_fallback_parse_address(handle, "{\"text\": \"\"}", &answer), SMTP_FALLBACK_OK, "{\"err\":");
    ANSWERS(smtp_fallback_inspect(handle, "{\"key\": {\"kind\": \"network\", \"address\": \"2001:db8::\", \"prefix-length\": 64}, \"value\": [1]}",
                                  &answer), SMTP_FALLBACK_OK, "{\"err\":");
    ANSWERS(smtp_fallback_parse_authentication_results(
                handle, "{\"headers\": [\"mx.example; spf=pass smtp.mailfrom=a.example\"], \"trusted-ids\": [\"mx.example\"]}", &answer),
            SMTP_FALLBACK_OK, "\"spf-mail-from\":{\"result\":\"pass\",\"domain\":\"a.example\"}");
    ANSWERS(smtp_fallback_describe(handle, &answer), SMTP_FALLBACK_OK, "{\"contract\":\"0.1.0\"");
    ANSWERS(smtp_fallback_schema(handle, &answer), SMTP_FALLBACK_OK, "https://json-schema.org/draft/2020-12/schema");
    CHECK(smtp_fallback_decide(handle, mail("greeting", 1, ""), NULL) == SMTP_FALLBACK_OK);
    smtp_fallback_close(handle);
    CHECK(strcmp(smtp_fallback_version(), "0.1.0") == 0);
    smtp_fallback_free(NULL);
}

typedef int function(smtp_fallback *, const char *, char **);

static void wrong_arguments(void)
{
    smtp_fallback *handle = opened("");
    function *const all[] = {smtp_fallback_keys, smtp_fallback_decide, smtp_fallback_explain, smtp_fallback_parse_address,
                             smtp_fallback_inspect, smtp_fallback_parse_authentication_results};
    char *deep = repeated("", '[', 100000, ""), *huge = repeated("", ' ', 16 * 1024 * 1024 + 1, "{}");
    for (size_t each = 0; each < sizeof all / sizeof all[0]; each++) {
        ANSWERS(all[each](NULL, "{}", &answer), SMTP_FALLBACK_ARGUMENT, "handle is NULL");
        ANSWERS(all[each](handle, NULL, &answer), SMTP_FALLBACK_ARGUMENT, "arguments is NULL");
        ANSWERS(all[each](handle, "", &answer), SMTP_FALLBACK_ARGUMENT, "EOF while parsing");
        ANSWERS(all[each](handle, "[1", &answer), SMTP_FALLBACK_ARGUMENT, "at line 1 column");
        ANSWERS(all[each](handle, "{\"strange\": 1}", &answer), SMTP_FALLBACK_ARGUMENT, "unknown field `strange`");
        ANSWERS(all[each](handle, "{\"\xc3\x28\": 1}", &answer), SMTP_FALLBACK_ARGUMENT, "the octet at offset 2 is no UTF-8");
        ANSWERS(all[each](handle, deep, &answer), SMTP_FALLBACK_ARGUMENT, "at line 1 column");
        ANSWERS(all[each](handle, huge, &answer), SMTP_FALLBACK_ARGUMENT, "octets, expected at most 16777216");
        CHECK(all[each](handle, "", NULL) == SMTP_FALLBACK_ARGUMENT);
    }
    free(deep);
    free(huge);
    ANSWERS(smtp_fallback_describe(NULL, &answer), SMTP_FALLBACK_ARGUMENT, "handle is NULL");
    ANSWERS(smtp_fallback_schema(NULL, &answer), SMTP_FALLBACK_ARGUMENT, "handle is NULL");
    ANSWERS(smtp_fallback_reload(NULL, "{}", &answer), SMTP_FALLBACK_ARGUMENT, "handle is NULL");
    smtp_fallback_close(handle);
}

static void reloading(void)
{
    char path[1024], more[2048];
    snprintf(path, sizeof path, "%s/policy.json", folder);
    snprintf(more, sizeof more, ", \"policy-file\": \"%s\", \"secret\": \"0123456789abcdef\"", path);
    const char *const texts[] = {"{}", "{\"mode\": \"observe\"}", "{\n \"mode\": \"obey\"}"};
    smtp_fallback *handle = NULL;
    for (size_t each = 0; each < 3; each++) {
        FILE *file = fopen(path, "w");
        CHECK(file && fputs(texts[each], file) >= 0 && fclose(file) == 0);
        if (each == 0)
            handle = opened(more);
        else if (each == 1)
            ANSWERS(smtp_fallback_reload(handle, NULL, &answer), SMTP_FALLBACK_OK, "{\"mode\":\"observe\"");
        else
            ANSWERS(smtp_fallback_reload(handle, NULL, &answer), SMTP_FALLBACK_POLICY, "\"pointer\":\"/mode\",\"line\":2,\"column\":10,");
        ANSWERS(smtp_fallback_decide(handle, mail("end-of-data", 1, "fail"), &answer), SMTP_FALLBACK_OK,
                each == 0 ? "{\"verdict\":{\"refuse\"" : "{\"verdict\":\"accept\",\"reason\":\"unauthenticated\"");
    }
    ANSWERS(smtp_fallback_reload(handle, "{}", &answer), SMTP_FALLBACK_OK, "{\"mode\":\"enforce\"");
    CHECK(unlink(path) == 0);
    ANSWERS(smtp_fallback_reload(handle, NULL, &answer), SMTP_FALLBACK_POLICY, "cannot be read");
    ANSWERS(smtp_fallback_decide(handle, mail("end-of-data", 1, "fail"), &answer), SMTP_FALLBACK_OK, "{\"verdict\":{\"refuse\"");
    smtp_fallback_close(handle);

    handle = opened("");
    ANSWERS(smtp_fallback_reload(handle, NULL, &answer), SMTP_FALLBACK_ARGUMENT, "the settings name no policy-file");
    ANSWERS(smtp_fallback_decide(handle, mail("end-of-data", 1, "fail"), &answer), SMTP_FALLBACK_OK, "no-policy");
    smtp_fallback_close(handle);
}

/* ---- Failures ---- */

static void a_failure_lets_mail_through(void)
{
    smtp_fallback *handle = opened(", \"policy\": {}, \"memory\": 2097152");
    char *address = repeated("", 'x', 4 * 1024 * 1024, "@example.org");
    const char *const form = "{\"connection\": %.*s, \"envelope\": {\"mail-from\": \"%s\", \"recipients\": []}}";
    const char *connection = strchr(mail("end-of-data", 1, "fail"), ':') + 2, *end = strchr(connection, '}') + 1;
    size_t octets = strlen(address) + 4096;
    char *arguments = malloc(octets);
    CHECK(arguments);
    snprintf(arguments, octets, form, (int)(end - connection), connection, address);

    atomic_store(&errors, 0);
    ANSWERS(smtp_fallback_decide(handle, arguments, &answer), SMTP_FALLBACK_OK,
            "{\"verdict\":\"accept\",\"reason\":\"no-policy\"");
    CHECK(logged(SMTP_FALLBACK_LOG_ERROR, "octets of memory"));
    ANSWERS(smtp_fallback_decide(handle, arguments, &answer), SMTP_FALLBACK_OK,
            "\"failure\":\"the component wanted more than 2097152 octets of memory\"}");
    CHECK(logged(SMTP_FALLBACK_LOG_ERROR, "octets of memory"));
    smtp_fallback_on_log(NULL, NULL);
    ANSWERS(smtp_fallback_keys(handle, arguments, &answer), SMTP_FALLBACK_OK, "[]");
    CHECK(atomic_load(&errors) == 0);
    smtp_fallback_on_log(note, &errors);
    ANSWERS(smtp_fallback_explain(handle, arguments, &answer), SMTP_FALLBACK_COMPONENT, "\"code\":\"component\"");
    /* The next one is the policy's again. */
    ANSWERS(smtp_fallback_decide(handle, mail("end-of-data", 1, "fail"), &answer), SMTP_FALLBACK_OK, "\"records\":[{");
    free(arguments);
    free(address);
    smtp_fallback_close(handle);
}

/* In debug builds only. */
#ifdef WITH_PANIC
int smtp_fallback_test_panic(char **answer);

static void a_fault_does_not_cross_the_border(void)
{
    atomic_store(&errors, 0);
    ANSWERS(smtp_fallback_test_panic(&answer), SMTP_FALLBACK_PANIC, "{\"code\":\"panic\",\"message\":\"a fault of the library: a fault\\non command");
    CHECK(logged(SMTP_FALLBACK_LOG_ERROR, "a fault on command"));
    CHECK(smtp_fallback_test_panic(NULL) == SMTP_FALLBACK_PANIC);
}
#endif

static void the_log_is_taken(void)
{
    atomic_store(&warnings, 0);
    char text[2048];
    snprintf(text, sizeof text, "{\"component\": \"%s\", \"instances\": 1, \"cache\": \"/dev/null\"}", component);
    smtp_fallback *handle;
    CHECK(smtp_fallback_open(text, &handle, NULL) == SMTP_FALLBACK_OK);
    CHECK(logged(SMTP_FALLBACK_LOG_WARNING, "compiling the component at each start"));
    smtp_fallback_close(handle);
}

/* ---- Threads ---- */

static void *decide_often(void *handle)
{
    for (int n = 0; n < decisions; n++) {
        bool refuses = n % 2;
        ANSWERS(smtp_fallback_decide(handle, mail("end-of-data", n, refuses ? "fail" : "pass"), &answer), SMTP_FALLBACK_OK,
                refuses ? "{\"verdict\":{\"refuse\"" : "{\"verdict\":\"accept\",\"reason\":\"authenticated\"");
    }
    return NULL;
}

static void eight_threads(const char *more)
{
    smtp_fallback *handle = opened(more);
    pthread_t started[8];
    for (int each = 0; each < 8; each++)
        CHECK(pthread_create(&started[each], NULL, decide_often, handle) == 0);
    for (int each = 0; each < 20; each++)
        ANSWERS(smtp_fallback_reload(handle, each % 2 ? "{}" : "{\"url\": \"https://a.example\"}", &answer), SMTP_FALLBACK_OK, "enforce");
    for (int each = 0; each < 8; each++)
        CHECK(pthread_join(started[each], NULL) == 0);
    smtp_fallback_close(handle);
}

int main(int count, char **arguments)
{
    begin(count, arguments);
    smtp_fallback_on_log(note, &errors);
    opening();
    refused_settings();
    each_function_answers();
    wrong_arguments();
    reloading();
    a_failure_lets_mail_through();
#ifdef WITH_PANIC
    a_fault_does_not_cross_the_border();
#endif
    the_log_is_taken();
    eight_threads(", \"policy\": {}");
    eight_threads(", \"policy\": {}, \"store\": {\"memory\": {}}");
    CHECK(threads(1) == 1);
    puts("library: all as it has to be");
    return 0;
}
