/* Records in memory and in a file; other_process.rs has those of another process. */
#include "check.h"

/* What a network sends until most of its mail is known to fail; then it is refused at the greeting. */
static void prove_a_majority(smtp_fallback *handle)
{
    ANSWERS(smtp_fallback_decide(handle, mail("greeting", 0, ""), &answer), SMTP_FALLBACK_OK, "{\"verdict\":\"continue\"");
    for (int n = 1; n <= 6; n++)
        ANSWERS(smtp_fallback_decide(handle, mail("end-of-data", n, "fail"), &answer), SMTP_FALLBACK_OK, "\"notes\":[],\"records\":[]}");
    ANSWERS(smtp_fallback_decide(handle, mail("end-of-data", 7, "fail"), &answer), SMTP_FALLBACK_OK, "\"notes\":[\"penalty-begins\"]");
}

static void is_known(smtp_fallback *handle)
{
    ANSWERS(smtp_fallback_decide(handle, mail("greeting", 0, ""), &answer), SMTP_FALLBACK_OK,
            "{\"verdict\":{\"refuse\":{\"code\":451,\"enhanced-code\":\"4.4.8\"");
    ANSWERS(smtp_fallback_explain(handle, mail("greeting", 0, ""), &answer), SMTP_FALLBACK_OK, "penalty");
}

#define POLICY ", \"policy\": {\"penalty\": {\"jitter_percent\": 0, \"probe_one_in\": 0}}, \"store-ms\": 1000, \"store\": "

static void memory(void)
{
    smtp_fallback *handle = opened(POLICY "{\"memory\": {\"records\": 100}}");
    prove_a_majority(handle);
    is_known(handle);
    char *given = malloc(4096);
    CHECK(given);
    const char *arguments = mail("greeting", 0, ""), *place = strstr(arguments, "[]");
    snprintf(given, 4096, "%.*s[{\"key\": {\"kind\": \"network\", \"address\": \"2001:db8:1:2::\", \"prefix-length\": 64}, \"value\": [1]}]%s",
             (int)(place - arguments), arguments, place + 2);
    ANSWERS(smtp_fallback_decide(handle, given, &answer), SMTP_FALLBACK_ARGUMENT, "connection.records: found some, expected none");
    ANSWERS(smtp_fallback_explain(handle, given, &answer), SMTP_FALLBACK_ARGUMENT, "connection.records: found some, expected none");
    free(given);
    smtp_fallback_close(handle);
}

static void file(void)
{
    char more[2048];
    snprintf(more, sizeof more, POLICY "{\"file\": \"%s/records\"}", folder);
    smtp_fallback *handle = opened(more), *second = opened(more);
    prove_a_majority(handle);
    is_known(handle);
    /* The second finds the file taken at its first call; and gets it when it is free. */
    ANSWERS(smtp_fallback_decide(second, mail("greeting", 0, ""), &answer), SMTP_FALLBACK_STORE, "another process uses the store's file");
    ANSWERS(smtp_fallback_keys(second, mail("greeting", 0, ""), &answer), SMTP_FALLBACK_STORE, "another process uses the store's file");
    ANSWERS(smtp_fallback_describe(second, &answer), SMTP_FALLBACK_OK, "contract");
    smtp_fallback_close(second);
    smtp_fallback_close(handle);
    handle = opened(more);
    is_known(handle);
    smtp_fallback_close(handle);
}

int main(int count, char **arguments)
{
    begin(count, arguments);
    memory();
    file();
    CHECK(threads(1) == 1);
    puts("stores: all as they have to be");
    return 0;
}
