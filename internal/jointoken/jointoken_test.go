package jointoken

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/errs"
)

func sample() *Token {
	return &Token{
		ID: "6f0c", Secret: NewSecret(), Role: "server", Region: "eu",
		Servers: []string{"10.0.0.1:4647", "[::1]:4647"}, Authorities: []string{strings.Repeat("ab", 32)},
	}
}

func mustEncode(t testing.TB, tok *Token) string {
	t.Helper()
	text, err := tok.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestTextIsReadBack(t *testing.T) {
	want := sample()
	got, err := Parse(" " + mustEncode(t, want) + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTextsThatAreNone(t *testing.T) {
	whole := mustEncode(t, sample())
	swapped := []byte(whole)
	if i := len(prefix) + 12; swapped[i] == 'A' {
		swapped[i] = 'B'
	} else {
		swapped[i] = 'A'
	}
	for text, want := range map[string]string{
		"":                                   "is empty",
		"59c219c2":                           "must begin with",
		whole[:len(whole)-4]:                 "copied whole",
		string(swapped):                      "copied whole",
		prefix:                               "copied whole",
		prefix + "!!!!!!!!!!!!":              "copied whole",
		whole + strings.Repeat("a", maxText): "longer than",
	} {
		if _, err := Parse(text); !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

func TestTokensThatNoClusterMade(t *testing.T) {
	for what, spoil := range map[string]func(*Token){
		"secret":      func(t *Token) { t.Secret = "" },
		"role":        func(t *Token) { t.Role = "cli" },
		"region":      func(t *Token) { t.Region = "" },
		"servers":     func(t *Token) { t.Servers = []string{"10.0.0.1"} },
		"authorities": func(t *Token) { t.Authorities = []string{"abcd"} },
	} {
		tok := sample()
		spoil(tok)
		if _, err := tok.Encode(); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	many := sample()
	for range 2000 {
		many.Servers = append(many.Servers, "10.0.0.1:4647")
	}
	if _, err := many.Encode(); !errors.Is(err, errs.TooLarge) {
		t.Errorf("a text that is too long: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("")
	f.Add(prefix)
	f.Add(prefix + "e30AAAAA")
	f.Add(mustEncode(f, sample()))
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := Parse(text)
		if err != nil {
			if !errors.Is(err, errs.Invalid) {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		again, err := Parse(mustEncode(t, tok))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tok, again); diff != "" {
			t.Error(diff)
		}
	})
}
