package agent

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/cairn-project/cairn/nomad/structs"
)

// snapshotPace is how long a piece of an archive may take on its way to or from a client.
const snapshotPace = time.Minute

// restored tells of a restore.
type restored struct {
	// Index is where the cluster goes on, Before the index that it had, ArchiveIndex that
	// of the archive when it was saved.
	Index        uint64
	Before       uint64
	ArchiveIndex uint64
}

func snapshotRoutes() []route {
	other := param{name: "other_region", kind: "boolean", summary: "take an archive of a region of another name"}
	return []route{
		local[nothing](doc{methods: "GET", pattern: "/v1/operator/snapshot", rpc: "Operator.SnapshotSave", region: true, media: octets,
			params:  []param{staleParam},
			summary: "Save the state: an archive, whose SHA-256 the header Digest tells."}, saveSnapshot),
		local[restored](doc{methods: "PUT POST", pattern: "/v1/operator/snapshot", rpc: "Operator.SnapshotRestore", region: true, bodyMedia: octets,
			params:  []param{other},
			summary: "Have the archive in the body take the place of the whole state, once all of it was checked."}, restoreSnapshot),
	}
}

func saveSnapshot(r *request) error {
	args := &structs.SnapshotSaveRequest{}
	if err := r.readOptions(&args.QueryOptions); err != nil {
		return err
	}
	resp, body, err := r.api.server.SaveSnapshot(r.Context(), args)
	if err != nil {
		return err
	}
	defer body.Close()
	r.setQueryMeta(&resp.QueryMeta)
	h := r.w.Header()
	h["Content-Type"] = []string{octets}
	h["Content-Length"] = []string{strconv.FormatInt(resp.Size, 10)}
	h["Digest"] = []string{resp.SnapshotChecksum}
	if r.Method == http.MethodHead {
		return nil
	}
	_, err = io.CopyBuffer(&paced{w: r.w, rc: http.NewResponseController(r.w)}, struct{ io.Reader }{body}, make([]byte, 128<<10))
	if err != nil { // the client sees that the length is short
		panic(http.ErrAbortHandler)
	}
	return nil
}

// paced gives every piece of an answer its time.
type paced struct {
	w  io.Writer
	rc *http.ResponseController
}

func (p *paced) Write(b []byte) (int, error) {
	_ = p.rc.SetWriteDeadline(time.Now().Add(snapshotPace)) // of writers in tests only some can
	return p.w.Write(b)
}

func restoreSnapshot(r *request) error {
	args := &structs.SnapshotRestoreRequest{}
	r.writeOptions(&args.WriteRequest)
	var err error
	if args.OtherRegion, err = r.flag("other_region"); err != nil {
		return err
	}
	rc := http.NewResponseController(r.w)
	resp, err := r.api.server.RestoreSnapshot(r.Context(), args, &arriving{body: r.Body, rc: rc})
	_ = rc.SetWriteDeadline(time.Now().Add(snapshotPace))
	if err != nil {
		return err
	}
	r.setIndex(resp.Index)
	return r.writeJSON(http.StatusOK, &restored{resp.Index, resp.Before, resp.ArchiveIndex})
}

// arriving gives every piece of a body its time. Bodies of archives are not held in
// memory, so that no budget bounds them.
type arriving struct {
	body io.Reader
	rc   *http.ResponseController
}

func (a *arriving) Read(b []byte) (int, error) {
	if a.body == nil {
		return 0, io.EOF
	}
	_ = a.rc.SetReadDeadline(time.Now().Add(snapshotPace))
	n, err := a.body.Read(b)
	if err != nil && errors.Is(err, io.EOF) {
		_ = a.rc.SetReadDeadline(time.Time{})
	}
	return n, err
}
