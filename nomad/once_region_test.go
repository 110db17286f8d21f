package nomad_test

import (
	"context"
	"testing"
	"time"

	"github.com/cairn-project/cairn/nomad/structs"
)

// A write to another region whose connection breaks before it is answered is answered
// by what its first try did.
func TestWriteToAnotherRegionOutlivesItsConnection(t *testing.T) {
	runRegions(t, func(r *regions) {
		home := caller{r.home, t, rootSecret}
		to := structs.WriteRequest{Region: "mars"}
		within(t, "the token in mars", func() bool {
			req := writeVar(structs.VarOpSet, "warm", nil)
			req.WriteRequest = to
			return home.call("Variables.Apply", req, &structs.VariablesApplyResponse{}) == nil
		})
		const way = 300 * time.Millisecond
		r.Fabric.Delay(r.home.Host, r.far.Host, way)
		for _, round := range []struct {
			path  string
			idle  time.Duration
			after time.Duration // the last answer is on its way
		}{
			{path: "at/once", after: way + way/2},
			{path: "after/a/pause", idle: time.Minute, after: 3*way + way/2}, // the index of the region is asked first
		} {
			time.Sleep(round.idle)
			before := latest(t, r.far)
			variable := writeVar(structs.VarOpCAS, round.path, nil)
			variable.WriteRequest = to
			token := tokenRequest(structs.ACLToken{Name: round.path, Type: structs.ACLManagementToken})
			token.WriteRequest = to
			var written structs.VariablesApplyResponse
			var made structs.ACLTokenUpsertResponse
			failed := make(chan error, 2)
			go func() { failed <- home.call("Variables.Apply", variable, &written) }()
			go func() { failed <- home.call("ACL.UpsertTokens", token, &made) }()
			time.Sleep(round.after)
			applied := latest(t, r.far)
			r.Fabric.Reset(r.home.Host, r.far.Host)
			for range 2 {
				if err := <-failed; err != nil {
					t.Fatalf("%s: %v", round.path, err)
				}
			}
			if applied != before+2 || written.Result != structs.VarOpResultOk || written.Index > applied || made.Index > applied {
				t.Errorf("%s: %d entries were applied when the connections broke, answered %s at %d, and at %d",
					round.path, applied-before, written.Result, written.Index, made.Index)
			}
			if err := sameToken(caller{r.far, t, rootSecret}, made.Tokens[0]); err != nil {
				t.Error(err)
			}
		}
		r.Fabric.Delay(r.home.Host, r.far.Host, 0)
		if got, err := r.far.Get(context.Background(), "after/a/pause", ask("")); err != nil || got.Data.CreateIndex != got.Data.ModifyIndex {
			t.Errorf("%+v, %v", got.Data, err)
		}
	})
}
