// Package archtest holds the rules of the house as Go data and the functions
// that check them on the parsed source of the module. The tests run every rule
// on this repository and on small sources that break it, so that a rule which
// no longer bites is noticed too.
//
// A failure names the file, the line and the rule. Where a rule must give way,
// exceptions.go takes an entry with a reason; an entry that nothing needs any
// more fails as well, so the list is the debt and nothing else.
package archtest
