package limit

import "fmt"

// Class is what a request costs and how urgent it is.
type Class int

// The classes, most urgent first.
const (
	// Control keeps the cluster alive or in hand: heartbeats, renewals of locks,
	// consensus, what an operator does in an emergency.
	Control Class = iota
	// Write changes the store.
	Write
	// Read reads a bounded number of objects.
	Read
	// Bulk reads as much as there is: lists.
	Bulk

	classes
)

var classNames = [classes]string{"control", "write", "read", "bulk"}

// String returns the name of the class, as metrics and the configuration have it.
func (c Class) String() string {
	if !c.Valid() {
		return fmt.Sprintf("class %d", int(c))
	}
	return classNames[c]
}

// Valid reports whether c is one of the classes.
func (c Class) Valid() bool { return c >= 0 && c < classes }

// Classes returns every class, most urgent first.
func Classes() []Class { return []Class{Control, Write, Read, Bulk} }

// PerClass holds one value for each class.
type PerClass[T any] struct{ Control, Write, Read, Bulk T }

// Of returns the value of a class.
func (p *PerClass[T]) Of(c Class) *T {
	return [classes]*T{&p.Control, &p.Write, &p.Read, &p.Bulk}[c]
}
