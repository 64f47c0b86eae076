/* One way to call the policy module from C. vectors.c and bench.c run on any file that implements it: a vector runner is
 * vectors.c, calls.c, bench.c and one such file, linked with jansson. */
#ifndef FACE_H
#define FACE_H

typedef struct face face;

/* A face without a policy. `path` is the module, the component or the library's settings. NULL after a message on stderr. */
face *face_open(const char *path);

/* NULL is allowed. */
void face_close(face *face);

/* Calls a function of the contract with its arguments as JSON. The result as JSON is valid until the next call or the face's end.
 * NULL after a message on stderr: there was no answer. */
const char *face_call(face *face, const char *function, const char *arguments);

/* The bench mode (bench.c): how long a pair of `keys` and `decide` takes, and how much memory. The program's exit status. */
int bench(const char *path, const char *cases, const char *count);

#endif
