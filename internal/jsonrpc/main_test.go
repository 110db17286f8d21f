package jsonrpc

import (
	"testing"

	"go.uber.org/goleak"

	_ "github.com/cairn-project/cairn/internal/testenv"
)

// TestMain fails when a test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
