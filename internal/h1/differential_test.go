package h1

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

const host = "Host: x\r\n"

func get(target string, fields ...string) string {
	return "GET " + target + " HTTP/1.1\r\n" + host + strings.Join(append(fields, ""), "\r\n") + "\r\n"
}

func put(target, body string, fields ...string) string {
	return "PUT " + target + " HTTP/1.1\r\n" + host + fmt.Sprintf("Content-Length: %d\r\n", len(body)) +
		strings.Join(append(fields, ""), "\r\n") + "\r\n" + body
}

// streams are bytes on a connection, in the pieces in which they are sent.
var streams = map[string][]string{
	"get":             {get("/a/b?c=d&e=%20")},
	"odd targets":     {get("/a%2fb/%41"), get("/a?"), get("/?a?b"), get("//x/y"), get("/!'()*[]|"), get("/a#b"), get("/a;b=c,d:e@f")},
	"bad escape":      {get("/%zz")},
	"bad escape cut":  {"GET /% HTTP/1.1\r\n"},
	"good escapes":    {get("/%2F%c3%bc?%"), get("/%00"), get("/a%20b%")},
	"bad query":       {get("/a?%zz")},
	"absolute":        {"GET http://y/a HTTP/1.1\r\n" + host + "\r\n"},
	"asterisk":        {"OPTIONS * HTTP/1.1\r\n" + host + "\r\n"},
	"authority":       {"CONNECT x:1 HTTP/1.1\r\n" + host + "\r\n"},
	"connect path":    {"CONNECT /x HTTP/1.1\r\n" + host + "\r\n"},
	"put":             {put("/a", "body"), put("/a", ""), put("/b", "again")},
	"post then line":  {strings.Replace(put("/a", "body"), "PUT", "POST", 1) + "\r\n" + get("/b"), "\r\n", get("/c")},
	"put then line":   {put("/a", "body") + "\r\n" + get("/b")},
	"post many lines": {strings.Replace(put("/a", "body"), "PUT", "POST", 1) + "\r\n\r\n\r\n" + get("/b")},
	"other methods":   {"PATCH /a HTTP/1.1\r\n" + host + "\r\n", "get /a HTTP/1.1\r\n" + host + "\r\n", "M-X /a HTTP/1.1\r\n" + host + "\r\n"},
	"bad method":      {"G(T /a HTTP/1.1\r\n" + host + "\r\n"},
	"head":            {"HEAD /size/10 HTTP/1.1\r\n" + host + "\r\n", "HEAD /size/9999 HTTP/1.1\r\n" + host + "\r\n", "HEAD /declared/70 HTTP/1.1\r\n" + host + "\r\n", "HEAD /status/200 HTTP/1.1\r\n" + host + "\r\n", "HEAD /flush/2 HTTP/1.1\r\n" + host + "\r\n", "HEAD /close HTTP/1.1\r\n" + host + "\r\n"},
	"statuses":        {get("/status/204"), get("/status/304"), get("/status/404"), get("/status/299"), get("/status/103"), get("/status/999")},
	"sizes":           {get("/size/0"), get("/size/1"), get("/size/2047"), get("/size/2048"), get("/size/2049"), get("/size/4096"), get("/size/70000"), get("/size/200000")},
	"declared":        {get("/declared/0"), get("/declared/3000"), get("/declared/70000"), get("/declared/200000")},
	"wrong short":     {get("/wrong/9"), get("/a")},
	"wrong long":      {get("/wrong/4"), get("/a")},
	"wrong longer":    {get("/wrong/3"), get("/a")},
	"wrong nonsense":  {get("/declared/"), get("/wrong/-1"), get("/wrong/x"), get("/a")},
	"flush":           {get("/flush/1"), get("/flush/3"), get("/a")},
	"sniff":           {get("/html"), get("/a")},
	"close by server": {get("/close"), get("/a")},
	"close by client": {get("/a", "Connection: close"), get("/b")},
	"close mixed":     {get("/a", "Connection: Close"), get("/b")},
	"close in list":   {get("/a", "Connection: foo, close"), get("/b")},
	"keep-alive":      {get("/a", "Connection: keep-alive"), get("/b", "connection: Keep-Alive"), get("/c", "Connection: te"), get("/d")},
	"panic":           {get("/a"), get("/panic"), get("/b")},
	"crash":           {get("/crash"), get("/b")},
	"pipelined":       {get("/a") + put("/b", "body") + get("/size/5000") + "HEAD /c HTTP/1.1\r\n" + host + "\r\n" + get("/d")},
	"pipelined odd":   {get("/a") + get("/b", "Pragma: no-cache") + get("/c") + "nonsense\r\n\r\n" + get("/d")},
	"many pipelined":  {strings.Repeat(get("/a"), 300)},
	"pieces":          strings.Split(get("/a", "X: y")+put("/b", "body"), ""),
	"too short":       {get("/a") + "\n0"},
	"too short post":  {strings.Replace(put("/a", "body"), "PUT", "POST", 1) + "\r\nG", "ET"},
	"line then short": {strings.Replace(put("/a", "body"), "PUT", "POST", 1) + "\r\n\r\nG"},
	"cut in head":     {"GET /a HTTP/1.1\r\nHos"},
	"cut in line":     {"GET /a HT"},
	"cut in body":     {strings.TrimSuffix(put("/a", "body"), "dy")},
	"cut in unread":   {strings.TrimSuffix(put("/ignore", "body"), "dy")},
	"body in pieces":  {strings.TrimSuffix(put("/a", "body and more"), " and more"), " and", " more" + get("/b"), get("/c")},
	"big body":        {put("/a", strings.Repeat("b", 10_000)) + get("/b"), put("/some/9000", strings.Repeat("b", 10_000)), get("/c")},
	"unread":          {put("/ignore", "body") + get("/b"), put("/ignore", strings.Repeat("b", 100_000)) + get("/c"), put("/some/1", "body"), get("/d")},
	"unread too much": {put("/ignore", strings.Repeat("b", 300_000)), get("/b")},
	"cut in much":     {strings.TrimSuffix(put("/a", strings.Repeat("b", 270_000)), strings.Repeat("b", 270_000))},
	"at the bound":    {put("/ignore", strings.Repeat("b", 256<<10-1)), put("/ignore", strings.Repeat("b", 256<<10)), get("/b")},
	"read in part":    {put("/some/1", strings.Repeat("b", 300_000)), get("/b")},
	"early flush":     {put("/flush/2", "body"), put("/flush/2", strings.Repeat("b", 300_000)), get("/b")},
	"full duplex":     {put("/duplex", "body"), put("/duplex", strings.Repeat("b", 10_000)), put("/duplex", strings.Repeat("b", 300_000)), get("/b")},
	"chunked":         {"PUT /a HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n" + get("/b")},
	"continue":        {"PUT /a HTTP/1.1\r\n" + host + "Content-Length: 4\r\nExpect: 100-continue\r\n\r\n", "body", get("/b")},
	"expect other":    {get("/a", "Expect: more"), get("/b")},
	"upgrade":         {get("/a", "Connection: upgrade", "Upgrade: websocket"), get("/b")},
	"http/1.0":        {"GET /a HTTP/1.0\r\n\r\n"},
	"1.0 keep-alive":  {"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET /size/3000 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET /b HTTP/1.0\r\n\r\n"},
	"http/1.2":        {"GET /a HTTP/1.2\r\n" + host + "\r\n"},
	"http/2":          {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
	"http/0.9":        {"GET /a\r\n"},
	"tls":             {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"},
	"nothing":         {""},
	"empty lines":     {"\r\n\r\n" + get("/a")},
	"noise":           {"\x00\xff\xfe\r\n\r\n"},

	"no host":           {"GET /a HTTP/1.1\r\n\r\n"},
	"empty host":        {"GET /a HTTP/1.1\r\nHost:\r\n\r\n"},
	"two hosts":         {"GET /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"},
	"bad host":          {"GET /a HTTP/1.1\r\nHost: x y\r\n\r\n", get("/b")},
	"odd host":          {"GET /a HTTP/1.1\r\nHost: x/y\r\n\r\n", get("/b")},
	"two lengths":       {"PUT /a HTTP/1.1\r\n" + host + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nbody!"},
	"same length twice": {"PUT /a HTTP/1.1\r\n" + host + "Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody" + get("/b")},
	"length list":       {"PUT /a HTTP/1.1\r\n" + host + "Content-Length: 4, 4\r\n\r\nbody"},
	"length and te":     {"PUT /a HTTP/1.1\r\n" + host + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get("/b")},
	"te and length":     {"PUT /a HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + get("/b")},
	"te unknown":        {"PUT /a HTTP/1.1\r\n" + host + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"},
	"te tab":            {"PUT /a HTTP/1.1\r\n" + host + "Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n" + get("/b")},
	"length signed":     {"PUT /a HTTP/1.1\r\n" + host + "Content-Length: +4\r\n\r\nbody"},
	"length negative":   {"PUT /a HTTP/1.1\r\n" + host + "Content-Length: -1\r\n\r\nbody"},
	"length hex":        {"PUT /a HTTP/1.1\r\n" + host + "Content-Length: 0x4\r\n\r\nbody"},
	"length zeros":      {"PUT /a HTTP/1.1\r\n" + host + "Content-Length: 0004\r\n\r\nbody" + get("/b")},
	"length empty":      {"PUT /a HTTP/1.1\r\n" + host + "Content-Length:\r\n\r\nbody"},
	"length huge":       {"PUT /ignore HTTP/1.1\r\n" + host + "Content-Length: 99999999999999999999\r\n\r\nbody"},
	"length large":      {"PUT /ignore HTTP/1.1\r\n" + host + "Content-Length: 999999999999999999\r\n\r\nbody"},
	"length on get":     {"GET /a HTTP/1.1\r\n" + host + "Content-Length: 4\r\n\r\nbody" + get("/b")},
	"bare lf":           {"GET /a HTTP/1.1\nHost: x\n\n", get("/b")},
	"bare lf in fields": {"GET /a HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", get("/b")},
	"bare lf at end":    {"GET /a HTTP/1.1\r\nHost: x\r\n\n", get("/b")},
	"bare cr":           {"GET /a HTTP/1.1\r\nHost: x\r\nA: b\rC: d\r\n\r\n"},
	"cr cr lf":          {"GET /a HTTP/1.1\r\nHost: x\r\nA: b\r\r\n\r\n"},
	"space colon":       {"GET /a HTTP/1.1\r\nHost: x\r\nContent-Length : 4\r\n\r\nbody"},
	"no colon":          {"GET /a HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n"},
	"no name":           {"GET /a HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n"},
	"fold":              {"GET /a HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", get("/b")},
	"fold first":        {"GET /a HTTP/1.1\r\n Host: x\r\n\r\n"},
	"nul in value":      {"GET /a HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n"},
	"control in value":  {"GET /a HTTP/1.1\r\nHost: x\r\nA: b\x01c\r\n\r\n"},
	"del in value":      {"GET /a HTTP/1.1\r\nHost: x\r\nA: b\x7fc\r\n\r\n"},
	"tab in value":      {get("/a", "A: \t b\tc \t"), get("/b", "B:c")},
	"latin in value":    {get("/a", "A: \xe9\xff"), get("/b", "A: ü")},
	"space in name":     {"GET /a HTTP/1.1\r\nHost: x\r\nA B: c\r\n\r\n"},
	"latin in name":     {"GET /a HTTP/1.1\r\nHost: x\r\n\xe9: c\r\n\r\n"},
	"two spaces":        {"GET  /a HTTP/1.1\r\n" + host + "\r\n"},
	"space at end":      {"GET /a HTTP/1.1 \r\n" + host + "\r\n"},
	"space in target":   {"GET /a b HTTP/1.1\r\n" + host + "\r\n"},
	"nul in target":     {"GET /a\x00b HTTP/1.1\r\n" + host + "\r\n"},
	"latin in target":   {"GET /\xe9 HTTP/1.1\r\n" + host + "\r\n", get("/b")},
	"same field twice":  {get("/a", "A: b", "a: c", "A: d"), get("/b", "A: b"), get("/c", "a: b", "A: c")},
	"changing fields":   {get("/a", "A: 1", "B: 2"), get("/a", "A: 1", "B: 2"), get("/b", "B: 2", "A: 1"), get("/c", "B: 3"), get("/d"), get("/e", "C: 1", "D: 2", "E: 3")},
	"odd names":         {get("/a", "x-y_z: 1", "UPPER: 2", "mIxEd-cAsE: 3", "!#$%&'*+-.^_`|~: 4")},
	"many fields":       {get("/a", strings.Split(strings.Repeat("A: b,", 60)+"C: d", ",")...), get("/b")},
	"too many fields":   {get("/a", strings.Split(strings.Repeat("A: b,", 20_000)+"C: d", ",")...), get("/b")},
	"large head":        {get("/a", "A: "+strings.Repeat("b", 5000)), get("/b")},
	"nearly large head": {get("/a", "A: "+strings.Repeat("b", 4096-100)), get("/b")},
	"too large head":    {get("/a", "A: "+strings.Repeat("b", 100_000)), get("/b")},
	"large target":      {get("/" + strings.Repeat("b", 5000))},
	"pragma":            {get("/a", "Pragma: no-cache"), get("/b")},
	"trailer":           {get("/a", "Trailer: X"), get("/b")},
}

func TestSameAsNetHTTP(t *testing.T) {
	for name, pieces := range streams {
		for _, halfClose := range []bool{false, true} {
			t.Run(fmt.Sprint(name, halfClose), func(t *testing.T) { compare(t, halfClose, pieces...) })
		}
		t.Run(name+" at once", func(t *testing.T) { compare(t, true, strings.Join(pieces, "")) })
	}
}

// compare sends the same bytes to net/http and to this package.
func compare(t *testing.T, halfClose bool, pieces ...string) {
	t.Helper()
	handler := http.HandlerFunc(play)
	var want, got answers
	synctest.Test(t, func(t *testing.T) { want = exchange(serveMem(t, newHTTP(handler)), halfClose, pieces...) })
	synctest.Test(t, func(t *testing.T) { got = exchange(serveMem(t, New(newHTTP(handler))), halfClose, pieces...) })
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(answers{})); diff != "" {
		t.Errorf("%.200q: net/http (-) and h1 (+) differ:\n%s", pieces, diff)
	}
}
