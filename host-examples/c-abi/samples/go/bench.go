// What a decision costs from Go: bench SETTINGS bench CASES COUNT, as `cargo xtask bench faces` calls it. Texts in, texts out.
package main

// #cgo pkg-config: smtp_fallback
// #include <smtp_fallback.h>
// #include <stdlib.h>
import "C"

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func resident() string {
	status := must(os.ReadFile("/proc/self/status"))
	return string(regexp.MustCompile(`(?m)^VmRSS:\s+(\d+)`).FindSubmatch(status)[1])
}

func answer(code C.int, text *C.char) string {
	defer C.smtp_fallback_free(text)
	if code != C.SMTP_FALLBACK_OK {
		panic(C.GoString(text))
	}
	return C.GoString(text)
}

func main() {
	var cases struct {
		Policy string `json:"policy-json"`
		Secret string
		Cases  []struct {
			Name         string
			Keys, Decide json.RawMessage
		}
	}
	if err := json.Unmarshal(must(os.ReadFile(os.Args[3])), &cases); err != nil {
		panic(err)
	}
	count := must(strconv.Atoi(os.Args[4]))
	settings := map[string]any{}
	if err := json.Unmarshal(must(os.ReadFile(os.Args[1])), &settings); err != nil {
		panic(err)
	}
	settings["policy"], settings["secret"] = cases.Policy, cases.Secret
	var policy *C.smtp_fallback
	var text *C.char
	answer(C.smtp_fallback_open(C.CString(string(must(json.Marshal(settings)))), &policy, &text), text)
	defer C.smtp_fallback_close(policy)
	warm := ""
	for _, each := range cases.Cases {
		keys, decide := C.CString(string(each.Keys)), C.CString(string(each.Decide))
		pair := func() string {
			answer(C.smtp_fallback_keys(policy, keys, &text), text)
			return answer(C.smtp_fallback_decide(policy, decide, &text), text)
		}
		if strings.Contains(pair(), `"verdict":{"refuse"`) != (each.Name == "refusal") {
			panic(each.Name + ": another verdict")
		}
		for n := 0; n < 1000; n++ {
			pair()
		}
		if warm == "" {
			warm = resident()
		}
		start := time.Now()
		for n := 0; n < count; n++ {
			pair()
		}
		fmt.Println(each.Name, time.Since(start).Nanoseconds()/int64(count))
	}
	fmt.Println("memory", warm, resident())
}
