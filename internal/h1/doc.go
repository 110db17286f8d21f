// Package h1 serves ordinary HTTP/1.1 requests (RFC 9112) at a fraction of what
// net/http spends on a request, and leaves everything else to net/http.
//
// A connection starts in a loop of this package. As long as its requests are
// ordinary (see head.parse), the loop calls the handler itself: request, header
// map, buffers and context belong to the connection and are used again for the
// next request. At the first thing that is not ordinary the connection moves, with the bytes
// read so far, to a real http.Server for the rest of its life, before any
// handler ran. So each request is served by one of the two, and what is odd, malformed or
// hostile is answered by net/http alone.
//
// Handlers must keep neither the request nor the writer after they return.
package h1
