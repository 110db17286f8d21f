package state

import (
	"errors"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

func TestClusterIDIsSetOnce(t *testing.T) {
	s := New(hclog.NewNullLogger(), nil)
	set := func(id string) error {
		return s.SetClusterMetadata(s.NextIndex(), &structs.ClusterMetadataRequest{ClusterID: id, CreateTime: 7})
	}
	if err := set(""); !errors.Is(err, errs.Invalid) {
		t.Fatalf("no ID: %v", err)
	}
	if s.Snapshot().ClusterMetadata(nil) != nil {
		t.Fatal("a refused request left a row")
	}
	if err := set("a"); err != nil {
		t.Fatal(err)
	}
	first := s.Snapshot().ClusterMetadata(nil)
	if first == nil || first.ClusterID != "a" || first.CreateTime != 7 {
		t.Fatalf("stored %+v", first)
	}
	if err := set("a"); err != nil {
		t.Fatalf("the same ID again: %v", err)
	}
	if err := set("b"); !errors.Is(err, errs.Conflict) {
		t.Fatalf("another ID: %v", err)
	}
	if got := s.Snapshot().ClusterMetadata(nil); got != first {
		t.Fatalf("the row changed to %+v", got)
	}
}

func TestCopiedClusterIsReplacedByWhoKnowsIt(t *testing.T) {
	s := New(nil, nil)
	set := func(index uint64, id, before string) error {
		return s.SetCopiedCluster(index, &structs.ClusterCopiesRequest{ClusterID: id, Before: before})
	}
	if err := set(1, "a", ""); !errors.Is(err, errs.Invalid) {
		t.Errorf("without a cluster of its own: %v", err)
	}
	if err := s.SetClusterMetadata(2, &structs.ClusterMetadataRequest{ClusterID: "own"}); err != nil {
		t.Fatal(err)
	}
	if err := set(3, "a", ""); err != nil {
		t.Fatal(err)
	}
	if err := set(4, "b", ""); !errors.Is(err, errs.Conflict) {
		t.Errorf("another one by somebody who knows of none: %v", err)
	}
	if err := set(5, "b", "a"); err != nil {
		t.Error(err)
	}
	if row := s.Snapshot().ClusterMetadata(nil); row.Copies != "b" || row.ClusterID != "own" || row.ModifyIndex != 5 {
		t.Errorf("got %+v", row)
	}
}
