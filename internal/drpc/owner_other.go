//go:build !linux

package drpc

import (
	"context"
	"net"
)

func connectOwned(ctx context.Context, path string, uid int) (*net.UnixConn, error) {
	return connectByPath(ctx, path, uid)
}
