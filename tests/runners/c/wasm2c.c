/* The face over the core module as C: `wasm2c -n policy dist/smtp-fallback-module.wasm -o policy.c` makes the module that is compiled
 * in, so the path is not used. The names are those of wabt 1.0.32.
 */
#define _POSIX_C_SOURCE 200809L /* sigsetjmp */

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy.h"
#include "wasm-rt-impl.h"

#include "face.h"

/* What an instance may have at most, in pages of 64 KiB: 16 MiB, as the embedding library sets it for the component. */
#define PAGES 256

struct face {
    Z_policy_instance_t module;
    /* After a trap an instance is not to be called again. */
    bool trapped;
    /* The module's place for requests. */
    u32 place, place_octets;
    /* The last answer, with the NUL that the module does not put there. */
    char *answer;
    size_t answer_octets;
};

static bool failed(const char *what, const char *why)
{
    fprintf(stderr, "error: %s: %s\n", what, why);
    return false;
}

static char *at(face *face, u32 address)
{
    return (char *)Z_policyZ_memory(&face->module)->data + address;
}

/* A place that is large enough. */
static bool reserve(face *face, u32 octets)
{
    if (octets <= face->place_octets)
        return true;
    if (face->place)
        Z_policyZ_free(&face->module, face->place, face->place_octets);
    face->place = Z_policyZ_allocate(&face->module, octets);
    face->place_octets = face->place ? octets : 0;
    return face->place || failed("allocate", "the module has no memory for a request of this size");
}

/* Takes the answer out of the module's memory. */
static bool fetch(face *face)
{
    u32 octets = Z_policyZ_answer_octets(&face->module);
    if (octets + (size_t)1 > face->answer_octets) {
        char *larger = realloc(face->answer, octets + (size_t)1);
        if (!larger)
            return failed("answer", "no memory left");
        face->answer = larger;
        face->answer_octets = octets + (size_t)1;
    }
    memcpy(face->answer, at(face, Z_policyZ_answer(&face->module)), octets);
    face->answer[octets] = 0;
    return true;
}

static bool make_call(face *face, const char *function, const char *arguments)
{
    static const char form[] = "{\"call\":\"%s\",\"input\":%s}";
    size_t octets = strlen(function) + strlen(arguments) + sizeof form;
    if (octets > UINT32_MAX)
        return failed(function, "arguments of 4 GiB");
    if (!reserve(face, (u32)octets))
        return false;
    int written = snprintf(at(face, face->place), octets, form, function, arguments);
    u32 status = Z_policyZ_call(&face->module, face->place, (u32)written);
    if (!fetch(face))
        return false;
    return status == 0 || failed(function, face->answer);
}

const char *face_call(face *face, const char *function, const char *arguments)
{
    if (face->trapped) {
        failed(function, "this instance has trapped before");
        return NULL;
    }
    wasm_rt_trap_t trap = wasm_rt_impl_try();
    if (trap != WASM_RT_TRAP_NONE) {
        face->trapped = true;
        failed(function, wasm_rt_strerror(trap));
        return NULL;
    }
    return make_call(face, function, arguments) ? face->answer : NULL;
}

face *face_open(const char *path)
{
    (void)path;
    static bool initialised;
    if (!initialised) {
        wasm_rt_init();
        Z_policy_init_module();
        initialised = true;
    }
    face *face = calloc(1, sizeof *face);
    if (!face) {
        failed("instance", "no memory left");
        return NULL;
    }
    Z_policy_instantiate(&face->module);
    Z_policyZ_memory(&face->module)->max_pages = PAGES;
    return face;
}

void face_close(face *face)
{
    if (!face)
        return;
    Z_policy_free(&face->module);
    free(face->answer);
    free(face);
}
