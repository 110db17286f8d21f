package nomad

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"

	"github.com/cairn-project/cairn/internal/errs"
)

// gossipKeysAtStart returns the keys that a server begins with, the primary one first.
func gossipKeysAtStart(t *testing.T, dir, configured string) ([]string, error) {
	t.Helper()
	conf := DefaultConfig()
	conf.DataDir, conf.Gossip.EncryptKey = dir, []byte(configured)
	gossip := &serf.Config{MemberlistConfig: &memberlist.Config{}}
	if err := (&Server{config: conf}).setupGossipKeys(gossip, hclog.NewNullLogger()); err != nil || gossip.MemberlistConfig.Keyring == nil {
		return nil, err
	}
	var keys []string
	for _, k := range gossip.MemberlistConfig.Keyring.GetKeys() {
		keys = append(keys, string(k))
	}
	return keys, nil
}

const keyA, keyB = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"

func TestGossipKeyringFileRulesOnceThereIsOne(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, gossipKeyringFile)
	expect := func(when, configured string, want ...string) {
		t.Helper()
		got, err := gossipKeysAtStart(t, dir, configured)
		if err != nil || strings.Join(got, " ") != strings.Join(want, " ") {
			t.Fatalf("%s: keys %q, %v, want %q", when, got, err, want)
		}
	}
	expect("without a key", "")
	if _, err := os.Stat(path); err == nil {
		t.Fatal("a file was made without a key")
	}
	expect("first start", keyA, keyA)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the file: %v, %v", info, err)
	}
	if err := writeGossipKeys(path, [][]byte{[]byte(keyB), []byte(keyA)}); err != nil {
		t.Fatal(err)
	}
	expect("after a rotation", keyA, keyB, keyA)
	expect("after the key was taken out of the configuration", "", keyB, keyA)
	for _, rest := range []string{"", `["YmJiYmJiYmJ`} {
		if err := os.WriteFile(path, []byte(rest), 0o600); err != nil {
			t.Fatal(err)
		}
		expect("after a crash in a write", keyA, keyB, keyA)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect("after the file was removed", keyA, keyA)
}

// What serf writes in place is on the disk as a whole soon after.
func TestGossipKeysAreCopiedWhenTheyChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		conf := DefaultConfig()
		conf.DataDir, conf.Gossip.EncryptKey = dir, []byte(keyA)
		s := &Server{config: conf, logger: hclog.NewNullLogger()}
		gossip := &serf.Config{MemberlistConfig: &memberlist.Config{}}
		if err := s.setupGossipKeys(gossip, s.logger); err != nil {
			t.Fatal(err)
		}
		s.gossipRing = gossip.MemberlistConfig.Keyring
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.runGossipKeys(ctx)
		}()
		synctest.Wait()
		if err := errors.Join(s.gossipRing.AddKey([]byte(keyB)), s.gossipRing.UseKey([]byte(keyB))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		cancel()
		<-ended
		for _, name := range []string{gossipKeyringFile, gossipKeyringCopy} {
			keys, err := readGossipKeys(filepath.Join(dir, name))
			if err != nil || string(bytes.Join(keys, []byte(" "))) != keyB+" "+keyA {
				t.Errorf("%s holds %q, %v", name, keys, err)
			}
		}
	})
}

func TestDamagedGossipKeyringIsRefusedWithoutItsKeys(t *testing.T) {
	for _, text := range []string{`["YWFhYWFhYWFhYWFhYWFhYQ==`, `[]`, `{}`, `["secretsecret!"]`, `["c2VjcmV0"]`, strings.Repeat(" ", maxGossipKeyring+1)} {
		dir := t.TempDir()
		path := filepath.Join(dir, gossipKeyringFile)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := gossipKeysAtStart(t, dir, keyA)
		if !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), path) {
			t.Errorf("%.40q: %v", text, err)
		}
		for _, secret := range []string{"secretsecret", "c2VjcmV0", "YWFhYW"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error shows a key: %v", err)
			}
		}
	}
}

func FuzzParseGossipKeys(f *testing.F) {
	for _, seed := range []string{`["YWFhYWFhYWFhYWFhYWFhYQ=="]`, `[]`, `null`, `[null]`, `["",""]`, `[1]`, `{"a":1}`, ``} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := parseGossipKeys(text)
		if err != nil {
			return
		}
		if _, err := memberlist.NewKeyring(keys, keys[0]); err != nil {
			t.Fatalf("accepted what gossip refuses: %v", err)
		}
		path := filepath.Join(t.TempDir(), gossipKeyringFile)
		if err := writeGossipKeys(path, keys); err != nil {
			t.Fatal(err)
		}
		again, err := readGossipKeys(path)
		if err != nil || !bytes.Equal(bytes.Join(again, nil), bytes.Join(keys, nil)) {
			t.Fatalf("read back %v, %v", again, err)
		}
	})
}
