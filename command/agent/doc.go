// Package agent runs a cairn agent: it reads the configuration, sets up logs
// and metrics, starts the server and answers the HTTP API. The HTTP API is one
// table of routes (routes.go); the router and the OpenAPI document are both
// made from it.
package agent
