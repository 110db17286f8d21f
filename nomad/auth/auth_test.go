package auth

import (
	"context"
	"errors"
	"testing"

	"github.com/cairn-project/cairn/internal/errs"
)

func TestOffAllowsEveryone(t *testing.T) {
	for _, peer := range []*Peer{nil, {}, {Server: true, TLSNames: []string{"server.global.nomad"}}} {
		for _, secret := range []string{"", "nonsense"} {
			got, err := New(false).Resolve(context.Background(), secret, peer)
			if err != nil || !got.IsManagement() || !got.AllowServerOp() {
				t.Errorf("peer %+v, secret %q: %v, %v", peer, secret, got, err)
			}
		}
	}
}

func TestOnFailsClosed(t *testing.T) {
	r := New(true)
	got, err := r.Resolve(context.Background(), "", &Peer{Server: true})
	if err != nil || got.IsManagement() || got.AllowNamespace("default") {
		t.Errorf("without a secret: %v, %v", got, err)
	}
	got, err = r.Resolve(context.Background(), "nonsense", nil)
	if !errors.Is(err, errs.PermissionDenied) || got != nil {
		t.Errorf("unknown secret: %v, %v", got, err)
	}
}
