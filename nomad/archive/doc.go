// Package archive is the form in which the state of a cluster is kept outside of it: a
// gzip stream of a tar file with three members, in this order.
//
//	meta.json   what it is a copy of
//	state.bin   a snapshot of the FSM
//	SHA256SUMS  the sums of the two, as sha256sum -c takes them
//
// Version 1 of the form is frozen; fields of meta.json may be added. Whoever restores an
// archive reads it to its end: what is not whole gives an error, never a part.
package archive
