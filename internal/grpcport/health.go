package grpcport

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// watchEvery is how often a watch looks whether health has changed.
const watchEvery = time.Second

// health answers the standard health protocol. The server as a whole, "", and
// the status service have one health.
type health struct {
	healthpb.UnimplementedHealthServer
	ready func() error
}

func known(service string) bool { return service == "" || service == statusName }

func (h *health) now() healthpb.HealthCheckResponse_ServingStatus {
	if h.ready() != nil {
		return healthpb.HealthCheckResponse_NOT_SERVING
	}
	return healthpb.HealthCheckResponse_SERVING
}

// Check tells the health at present.
func (h *health) Check(_ context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if !known(r.GetService()) {
		return nil, status.Errorf(codes.NotFound, "there is no service %q: ask for \"\" or %q", r.GetService(), statusName)
	}
	return &healthpb.HealthCheckResponse{Status: h.now()}, nil
}

// List tells the health of everything.
func (h *health) List(context.Context, *healthpb.HealthListRequest) (*healthpb.HealthListResponse, error) {
	r := &healthpb.HealthCheckResponse{Status: h.now()}
	return &healthpb.HealthListResponse{Statuses: map[string]*healthpb.HealthCheckResponse{"": r, statusName: r}}, nil
}

// Watch tells the health at present and each change of it.
func (h *health) Watch(r *healthpb.HealthCheckRequest, stream grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	if !known(r.GetService()) { // the protocol wants the stream to stay open
		if err := stream.Send(&healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVICE_UNKNOWN}); err != nil {
			return err
		}
		<-stream.Context().Done()
		return status.FromContextError(stream.Context().Err()).Err()
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for told := healthpb.HealthCheckResponse_UNKNOWN; ; {
		if now := h.now(); now != told {
			told = now
			if err := stream.Send(&healthpb.HealthCheckResponse{Status: now}); err != nil {
				return err
			}
		}
		select {
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		case <-tick.C:
		}
	}
}
