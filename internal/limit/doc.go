// Package limit decides which requests a server takes: rates by token, by address
// and for all, each by class, and how many requests of a class run at once.
package limit
