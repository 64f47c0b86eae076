// Asks the policy about two mails: go run ask.go COMPONENT. Needs gcc and pkg-config.
package main

// #cgo pkg-config: smtp_fallback
// #include <smtp_fallback.h>
// #include <stdlib.h>
import "C"

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"time"
	"unsafe"
)

// The answer into a value. Where there is none, mail passes: a filter would log this and accept.
func answer(code C.int, text *C.char, value any) {
	defer C.smtp_fallback_free(text)
	if code != C.SMTP_FALLBACK_OK {
		panic(C.GoString(text))
	}
	if err := json.Unmarshal([]byte(C.GoString(text)), value); err != nil {
		panic(err)
	}
}

const form = `{
	"connection": {"stage": "end-of-data", "client": "2001:db8::25", "listener": "mx", "ehlo-name": "mail.example.org", "tls": "none",
		"authenticated": false, "listener-offers": false, "keyword-shown": false, "acknowledged": false, "reachable-over-ipv4": true,
		"ipv4-arrivals-visible": false, "now": %d, "nonce": %d, "records": []},
	"envelope": {"mail-from": "smith@example.org", "recipients": ["jones@example.net"]},
	"message": {"message-id": "<1@example.org>", "from-domain": "example.org", "size": 1000},
	"auth-results": {"spf-mail-from": {"result": %q, "domain": "example.org"}, "dkim": []}}`

func main() {
	component, _ := json.Marshal(os.Args[1])
	settings := C.CString(fmt.Sprintf(`{"component": %s, "policy": {}, "instances": 1}`, component))
	defer C.free(unsafe.Pointer(settings))
	var policy *C.smtp_fallback
	var text *C.char
	var summary struct{ Mode string }
	answer(C.smtp_fallback_open(settings, &policy, &text), text, &summary)
	defer C.smtp_fallback_close(policy)
	fmt.Println("mode:", summary.Mode)
	random := rand.New(rand.NewSource(time.Now().UnixNano()))
	for _, spf := range []string{"fail", "pass"} {
		mail := C.CString(fmt.Sprintf(form, time.Now().Unix(), random.Uint32(), spf))
		var decision struct{ Verdict, Reason any }
		answer(C.smtp_fallback_decide(policy, mail, &text), text, &decision)
		C.free(unsafe.Pointer(mail))
		fmt.Println(decision.Reason)
		refused, _ := decision.Verdict.(map[string]any)
		if reply, ok := refused["refuse"].(map[string]any); ok {
			for _, line := range reply["lines"].([]any) {
				fmt.Println(reply["code"], reply["enhanced-code"], line)
			}
		} else {
			fmt.Println("250 2.0.0 OK")
		}
	}
}
