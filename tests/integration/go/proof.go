package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// extra is what a proof of ours carries: a record with its way into the batch, and the batch's manifest.
type extra struct {
	Format, Record, Manifest string
	Index, Count             int64
	Path                     []string
}

// manifest is what has to be known of one.
type manifest struct {
	Origin   string
	Sequence int64
	Records  struct {
		Count int64
		Root  string
	}
}

// checkProof checks the proof of one record: a C2SP tlog-proof of the batch's leaf, and within it an RFC 6962 audit path
// from the record to the batch's root. tlog.CheckRecord does both, for both trees are of the same kind.
func checkProof(file, vkeyFile string) (string, error) {
	verifier, err := readKey(vkeyFile)
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	head, signed, found := strings.Cut(string(data), "\n\n")
	lines := strings.Split(head, "\n")
	if !found || len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" ||
		!strings.HasPrefix(lines[1], "extra ") || !strings.HasPrefix(lines[2], "index ") {
		return "", errors.New("not a tlog proof with extra data")
	}
	index, err := strconv.ParseInt(lines[2][len("index "):], 10, 64)
	if err != nil {
		return "", err
	}
	path, err := readPath(lines[3:])
	if err != nil {
		return "", err
	}
	size, root, err := openCheckpoint(signed, verifier)
	if err != nil {
		return "", err
	}

	raw, err := base64.StdEncoding.Strict().DecodeString(lines[1][len("extra "):])
	if err != nil {
		return "", err
	}
	var x extra
	if err := json.Unmarshal(raw, &x); err != nil {
		return "", err
	}
	var m manifest
	if err := json.Unmarshal([]byte(x.Manifest), &m); err != nil {
		return "", err
	}
	if x.Format != "nmap-forwarder/record-proof/v1" || m.Origin != verifier.Name() || m.Sequence != index ||
		m.Records.Count != x.Count {
		return "", errors.New("record, manifest and proof do not belong together")
	}
	leaf := fmt.Appendf(nil, "nmap-forwarder/batch/v1 %d %x", index, sha256.Sum256([]byte(x.Manifest)))
	if err := tlog.CheckRecord(path, size, root, index, tlog.RecordHash(leaf)); err != nil {
		return "", fmt.Errorf("batch %d: %w", index, err)
	}
	inner, err := readPath(x.Path)
	if err != nil {
		return "", err
	}
	rootBytes, err := hex.DecodeString(m.Records.Root)
	if err != nil || len(rootBytes) != tlog.HashSize {
		return "", fmt.Errorf("record root %q is not a hash", m.Records.Root)
	}
	if err := tlog.CheckRecord(inner, x.Count, tlog.Hash(rootBytes), x.Index, tlog.RecordHash([]byte(x.Record))); err != nil {
		return "", fmt.Errorf("record %d: %w", x.Index, err)
	}
	return fmt.Sprintf("record %d of batch %d in size %d", x.Index, index, size), nil
}

func readPath(lines []string) (tlog.RecordProof, error) {
	var path tlog.RecordProof
	for _, line := range lines {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return nil, err
		}
		path = append(path, hash)
	}
	return path, nil
}

// openCheckpoint returns the size and root of a checkpoint that the key has signed.
func openCheckpoint(signed string, verifier note.Verifier) (size int64, root tlog.Hash, err error) {
	n, err := note.Open([]byte(signed), note.VerifierList(verifier))
	if err != nil {
		return 0, root, err
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() || lines[3] != "" {
		return 0, root, fmt.Errorf("not a checkpoint of %s: %q", verifier.Name(), n.Text)
	}
	if size, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return 0, root, err
	}
	root, err = tlog.ParseHash(lines[2])
	return size, root, err
}
