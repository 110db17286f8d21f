package nomad

import (
	"testing"
	"time"

	"github.com/cairn-project/cairn/nomad/stream"
	"github.com/cairn-project/cairn/nomad/structs"
)

func TestWorkloadEventReachesTheStream(t *testing.T) {
	s := startLone(t)
	sub, err := s.broker.Subscribe(stream.SubscribeRequest{Topics: map[structs.Topic][]string{structs.TopicWorkloadEvent: {"db"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	before := time.Now().UnixNano()
	raise := func(key string) uint64 {
		t.Helper()
		var reply structs.WorkloadEventRaiseResponse
		mustCall(t, s, "WorkloadEvent.Raise", &structs.WorkloadEventRaiseRequest{Event: &structs.WorkloadEvent{
			Namespace: "default", Type: "backup.done", Key: key, Source: structs.PeerIdentity{NodeID: "n-1", UID: 1000}}}, &reply)
		return reply.Index
	}
	raise("web")
	index := raise("db")
	got, err := sub.Next(t.Context())
	if err != nil || got.Index != index || len(got.Events) != 1 {
		t.Fatalf("%+v %v, want index %d", got, err, index)
	}
	e := got.Events[0]
	payload, ok := e.Payload.(*structs.WorkloadEvent)
	if !ok || e.Type != "backup.done" || e.Key != "db" || e.Namespace != "default" || payload.Source.UID != 1000 || payload.Time < before {
		t.Errorf("%+v, %+v", e, e.Payload)
	}
}
