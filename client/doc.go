// Package client is the node agent: it keeps who the node is on disk, finds out
// what the machine has, tells the servers, calls them in time so that they know
// it lives, and answers what they ask over the connection that it dialled.
package client
