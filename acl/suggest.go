package acl

import "fmt"

const (
	// longList is how many words are too many to be read where one of them is meant.
	longList = 12
	// typos is how many letters may be wrong in a word that is still recognised.
	typos = 3
)

// instead says what could have been written instead of a word: the one that was
// probably meant, or all of them.
func instead(got string, words []string) string {
	if best := closest(got, words); best != "" && len(words) > longList {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "must be one of " + oneOf(words)
}

// closest returns the word that differs least from got, "" if none is close.
func closest(got string, words []string) string {
	best, least := "", typos+1
	if len(got) > maxWord {
		return ""
	}
	for _, w := range words {
		if d := distance(got, w); d < least && d < len(w) {
			best, least = w, d
		}
	}
	return best
}

// maxWord bounds the texts that distance is asked for.
const maxWord = 64

// distance counts the bytes to insert, delete or replace to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
