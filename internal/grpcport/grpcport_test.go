package grpcport

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errNotReady = errors.New("not ready")

// connect serves one client over pipes.
func connect(t *testing.T, status func() Status, ready func() error) (*Server, *grpc.ClientConn) {
	t.Helper()
	s := New(status, ready)
	client, err := grpc.NewClient("passthrough:port", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go s.ServeConn(ctx, theirs)
			return ours, nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		s.Stop()
	})
	return s, client
}

func TestStatusAsToolsSeeIt(t *testing.T) {
	want := Status{Region: "global", Datacenter: "dc1", Node: "s1", NodeID: "id", Version: "1", Leader: "10.0.0.1:4647", IsLeader: true, Ready: true, StateIndex: 42}
	_, client := connect(t, func() Status { return want }, func() error { return nil })
	reply := dynamicpb.NewMessage(described(t, client).Messages().ByName("GetResponse"))
	if err := client.Invoke(t.Context(), "/cairn.v1.Status/Get", &healthpb.HealthCheckRequest{}, reply); err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	reply.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		got[string(f.Name())] = v.Interface()
		return true
	})
	for name, v := range map[string]any{"region": "global", "datacenter": "dc1", "node": "s1", "node_id": "id", "version": "1",
		"leader": "10.0.0.1:4647", "is_leader": true, "ready": true, "state_index": uint64(42)} {
		if got[name] != v {
			t.Errorf("%s: %v, want %v", name, got[name], v)
		}
	}
	if len(got) != 9 {
		t.Errorf("%d fields: %v", len(got), got)
	}
}

// described asks for the description of the service by reflection.
func described(t *testing.T, client *grpc.ClientConn) protoreflect.FileDescriptor {
	t.Helper()
	stream, err := reflectionpb.NewServerReflectionClient(client).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.CloseSend()
	ask := func(r *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
		if err := stream.Send(r); err != nil {
			t.Fatal(err)
		}
		answer, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	var names []string
	for _, s := range ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}).GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	if !slices.Contains(names, statusName) || !slices.Contains(names, "grpc.health.v1.Health") {
		t.Errorf("services: %v", names)
	}
	files := ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: statusName}}).
		GetFileDescriptorResponse().GetFileDescriptorProto()
	var found descriptorpb.FileDescriptorProto
	if len(files) != 1 || proto.Unmarshal(files[0], &found) != nil || found.GetService()[0].GetMethod()[0].GetName() != "Get" {
		t.Fatalf("described as %v", &found)
	}
	return file
}

func TestHealth(t *testing.T) {
	var down atomic.Bool
	_, client := connect(t, func() Status { return Status{} }, func() error {
		if down.Load() {
			return errNotReady
		}
		return nil
	})
	health := healthpb.NewHealthClient(client)
	check := func(service string, want healthpb.HealthCheckResponse_ServingStatus) {
		t.Helper()
		if r, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{Service: service}); err != nil || r.GetStatus() != want {
			t.Errorf("%q: %v %v, want %v", service, r, err, want)
		}
	}
	check("", healthpb.HealthCheckResponse_SERVING)
	watch, err := health.Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []healthpb.HealthCheckResponse_ServingStatus{healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING} {
		if r, err := watch.Recv(); err != nil || r.GetStatus() != want {
			t.Fatalf("watch: %v %v, want %v", r, err, want)
		}
		down.Store(true)
	}
	check(statusName, healthpb.HealthCheckResponse_NOT_SERVING)
	if list, err := health.List(t.Context(), &healthpb.HealthListRequest{}); err != nil || len(list.GetStatuses()) != 2 {
		t.Errorf("list: %v %v", list, err)
	}
	if _, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "nope"}); status.Code(err) != codes.NotFound {
		t.Errorf("unknown service: %v", err)
	}
}

// After Stop a connection is closed, not forgotten.
func TestStopClosesConnections(t *testing.T) {
	s, client := connect(t, func() Status { return Status{} }, func() error { return nil })
	watch, err := healthpb.NewHealthClient(client).Watch(t.Context(), &healthpb.HealthCheckRequest{Service: "nope"})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := watch.Recv(); err != nil || r.GetStatus() != healthpb.HealthCheckResponse_SERVICE_UNKNOWN {
		t.Fatal(r, err)
	}
	s.Stop()
	if _, err := watch.Recv(); err == nil {
		t.Error("a watch outlives the server")
	}
	ours, theirs := net.Pipe()
	s.ServeConn(t.Context(), theirs)
	if _, err := ours.Read(make([]byte, 1)); err == nil {
		t.Error("a connection is served after the end")
	}
}
