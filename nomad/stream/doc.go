// Package stream is the event broker: it keeps the last batches of events in
// memory and feeds them to any number of subscribers, each at its own pace.
//
// Batches form a linked list. The broker holds its oldest and newest link, a
// subscriber the last one that it has read, so that publishing neither waits
// for anybody nor grows with the number of subscribers, and reading takes no
// lock. Once the list is longer than its bound the broker cuts its oldest
// batches off; a subscriber that had not read them is told so instead of
// keeping them in memory, if there was something of its topics in them.
//
// Those who wait are woken by a goroutine of its own, by topic and, when there
// are many, a few milliseconds later, all at once. An event becomes JSON once,
// for all who get it.
package stream
