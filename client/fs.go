package client

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/nodelink"
)

// The methods FS.* see the agent's state directory and nothing else. The system
// resolves each path beneath it, so that neither .. nor a symbolic link leads out.
// What proves who the node is cannot be read, by management either.
var secretFiles = []string{fileSecretID, fileIdentity, fileIntroduced}

const (
	// maxRead bounds one FS.Read, in bytes; more is a stream.
	maxRead = 1 << 20
	// maxEntries bounds one FS.List.
	maxEntries = 1000
	// streamChunk is what FS.Stream reads at once, followPause how often it looks for more.
	streamChunk = 32 << 10
	followPause = 250 * time.Millisecond
)

// FileRequest is the argument of FS.List, FS.Stat, FS.Read and FS.Stream.
type FileRequest struct {
	// Path is relative to the agent's state directory, "" or / for itself.
	Path string
	// Offset is where to begin, Limit how many bytes to read, 0 for as many as may be.
	Offset, Limit int64
	// Follow goes on with what is written later, for FS.Stream.
	Follow bool `json:",omitempty"`
}

// FileInfo describes a file.
type FileInfo struct {
	Name    string
	Size    int64
	Mode    string
	ModTime time.Time
	IsDir   bool
}

func fileInfo(i fs.FileInfo) FileInfo {
	return FileInfo{Name: i.Name(), Size: i.Size(), Mode: i.Mode().String(), ModTime: i.ModTime().UTC(), IsDir: i.IsDir()}
}

// FilesReply answers FS.List; Truncated says that there are more.
type FilesReply struct {
	Files     []FileInfo
	Truncated bool
}

// DataReply answers FS.Read.
type DataReply struct {
	Data []byte
	// EOF says that the file has no more.
	EOF bool
}

// open opens a file of the state directory. Only plain files and directories are
// opened: others may block.
func (c *Client) open(name string) (*os.File, fs.FileInfo, error) {
	clean := strings.TrimPrefix(path.Clean("/"+name), "/")
	if clean != "" && strings.HasPrefix(path.Base(clean), ".") { // a secret that is just being written
		return nil, nil, errs.Newf(errs.PermissionDenied, "hidden files such as %q are shown to nobody", name)
	}
	if strings.Contains(name, "\x00") || slices.Contains(strings.Split(name, "/"), "..") {
		return nil, nil, errs.Newf(errs.PermissionDenied, "the path %q leads out of the agent's directory", name)
	}
	if clean == "" {
		clean = "."
	}
	root, err := os.OpenRoot(c.state.path)
	if err != nil {
		return nil, nil, fileError(name, err)
	}
	defer root.Close()
	info, err := root.Stat(clean)
	if err != nil {
		return nil, nil, fileError(name, err)
	}
	if !info.Mode().IsRegular() && !info.IsDir() {
		return nil, nil, errs.Newf(errs.Invalid, "%q is no plain file and no directory", name)
	}
	for _, secret := range secretFiles {
		if its, err := root.Stat(secret); err == nil && os.SameFile(info, its) {
			return nil, nil, errs.Newf(errs.PermissionDenied, "%q proves who the node is and is shown to nobody", name)
		}
	}
	f, err := root.Open(clean)
	if err != nil {
		return nil, nil, fileError(name, err)
	}
	if opened, err := f.Stat(); err != nil || !os.SameFile(info, opened) {
		return nil, nil, errors.Join(errs.Newf(errs.Conflict, "%q was replaced while it was opened: try again", name), f.Close())
	}
	return f, info, nil
}

// fileError gives a code to an error of the file system. What it says of the path
// stays with the agent.
func fileError(name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errs.Wrap(errs.NotFound, "the agent has no file "+name, err)
	case errors.Is(err, fs.ErrPermission):
		return errs.Wrap(errs.PermissionDenied, "the agent may not read "+name, err)
	}
	return errs.Wrap(errs.PermissionDenied, "the path "+name+" leads out of the agent's directory, or cannot be read", err)
}

func (c *Client) fsList(_ context.Context, _ *nodelink.Call, r *FileRequest) (*FilesReply, error) {
	d, info, err := c.open(r.Path)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	if !info.IsDir() {
		return nil, errs.Newf(errs.Invalid, "%q is no directory", r.Path)
	}
	entries, err := d.ReadDir(maxEntries + 1)
	if err != nil && err != io.EOF {
		return nil, fileError(r.Path, err)
	}
	out := &FilesReply{Files: []FileInfo{}, Truncated: len(entries) > maxEntries}
	for _, e := range entries[:min(len(entries), maxEntries)] {
		if i, err := e.Info(); err == nil { // it may be gone meanwhile
			out.Files = append(out.Files, fileInfo(i))
		}
	}
	slices.SortFunc(out.Files, func(a, b FileInfo) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (c *Client) fsStat(_ context.Context, _ *nodelink.Call, r *FileRequest) (*FileInfo, error) {
	f, info, err := c.open(r.Path)
	if err != nil {
		return nil, err
	}
	out := fileInfo(info)
	return &out, f.Close()
}

// openData opens a plain file to read from the offset.
func (c *Client) openData(r *FileRequest) (*os.File, error) {
	f, info, err := c.open(r.Path)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		err = errs.Newf(errs.Invalid, "%q is a directory: list it", r.Path)
	case r.Offset < 0 || r.Limit < 0:
		err = errs.New(errs.Invalid, "Offset and Limit must not be negative")
	default:
		if _, err = f.Seek(r.Offset, io.SeekStart); err == nil {
			return f, nil
		}
	}
	return nil, errors.Join(err, f.Close())
}

func (c *Client) fsRead(_ context.Context, _ *nodelink.Call, r *FileRequest) (*DataReply, error) {
	f, err := c.openData(r)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	limit := int64(maxRead)
	if r.Limit > 0 {
		limit = min(limit, r.Limit)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fileError(r.Path, err)
	}
	return &DataReply{Data: b[:min(int64(len(b)), limit)], EOF: int64(len(b)) <= limit}, nil
}

// StreamReply ends a stream.
type StreamReply struct{ Bytes int64 }

func (c *Client) fsStream(ctx context.Context, call *nodelink.Call, r *FileRequest) (*StreamReply, error) {
	f, err := c.openData(r)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out, b := &StreamReply{}, make([]byte, streamChunk)
	for r.Limit == 0 || out.Bytes < r.Limit {
		chunk := b
		if r.Limit > 0 {
			chunk = b[:min(int64(len(b)), r.Limit-out.Bytes)]
		}
		n, err := f.Read(chunk)
		if n > 0 {
			if _, err := call.Write(chunk[:n]); err != nil {
				return nil, err
			}
			out.Bytes += int64(n)
		}
		switch {
		case err == nil:
		case err != io.EOF:
			return nil, fileError(r.Path, err)
		case !r.Follow:
			return out, nil
		case !sleep(ctx, followPause):
			return out, ctx.Err()
		}
	}
	return out, nil
}
